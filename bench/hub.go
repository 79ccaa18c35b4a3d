//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/redis/go-redis/v9"
	"github.com/valyala/fasthttp"
)

// The ways the bare hub writes. prepared is what most tutorials end with: a
// queue, a writer goroutine and the library's PreparedMessage. coalesce puts all
// that waits into one write, the best of the simple techniques.
const (
	modePrepared = "prepared"
	modeCoalesce = "coalesce"
)

// hubChannel is the Redis channel of the bare hub.
const hubChannel = "bench:hub"

const (
	hubQueue    = 64       // messages that wait for a socket; more are dropped and counted as loss
	hubCoalesce = 32 << 10 // bytes of one write
)

// serveHub is a WebSocket hub on the product's own libraries without anything
// else: no identity, no join, no numbers, no replay. It is the ceiling of a
// technique, not a rival in features.
func serveHub(ctx context.Context) error {
	flags := flag.NewFlagSet(childHub, flag.ContinueOnError)
	address := flags.String("redis", "", "Redis address")
	mode := flags.String("mode", modeCoalesce, "prepared or coalesce")
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	if *mode != modePrepared && *mode != modeCoalesce {
		return fmt.Errorf("-mode: must be %s or %s", modePrepared, modeCoalesce)
	}
	h := &hub{mode: *mode, sockets: map[*hubSocket]struct{}{}}
	client := redis.NewClient(&redis.Options{Addr: *address})
	defer client.Close()
	subscription := client.Subscribe(ctx, hubChannel)
	defer subscription.Close()
	if _, err := subscription.Receive(ctx); err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	server := &fasthttp.Server{Handler: h.upgrade, NoDefaultServerHeader: true}
	ended := make(chan error, 2)
	go func() { ended <- server.Serve(listener) }()
	go func() { ended <- h.hear(ctx, subscription) }()
	if err := json.NewEncoder(os.Stdout).Encode(listener.Addr().String()); err != nil {
		return fmt.Errorf("saying where it listens: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil // the process ends, and with it both goroutines
	case err := <-ended:
		return err
	}
}

type hub struct {
	mode    string
	mu      sync.RWMutex
	sockets map[*hubSocket]struct{}
}

type hubSocket struct {
	queue chan *hubMessage
	gone  chan struct{}
}

// hubMessage is one message with the encodings that all sockets share.
type hubMessage struct {
	frame    []byte
	prepared *websocket.PreparedMessage
}

func (h *hub) hear(ctx context.Context, subscription *redis.PubSub) error {
	for {
		m, err := subscription.ReceiveMessage(ctx)
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
		message := &hubMessage{frame: serverFrame([]byte(m.Payload))}
		if h.mode == modePrepared {
			if message.prepared, err = websocket.NewPreparedMessage(websocket.TextMessage, []byte(m.Payload)); err != nil {
				return fmt.Errorf("preparing a message: %w", err)
			}
		}
		h.mu.RLock()
		for s := range h.sockets {
			select {
			case s.queue <- message:
			default: // the driver sees the loss
			}
		}
		h.mu.RUnlock()
	}
}

func (h *hub) upgrade(ctx *fasthttp.RequestCtx) {
	up := websocket.FastHTTPUpgrader{
		ReadBufferSize: 1024, WriteBufferSize: 1024, CheckOrigin: func(*fasthttp.RequestCtx) bool { return true },
	}
	err := up.Upgrade(ctx, func(ws *websocket.Conn) {
		s := &hubSocket{queue: make(chan *hubMessage, hubQueue), gone: make(chan struct{})}
		h.mu.Lock()
		h.sockets[s] = struct{}{}
		h.mu.Unlock()
		written := make(chan struct{})
		go func() {
			defer close(written)
			_ = h.write(ws, s) // its reader ends too
			_ = ws.NetConn().SetDeadline(time.Unix(1, 0))
		}()
		for {
			if _, _, err := ws.NextReader(); err != nil {
				break
			}
		}
		h.mu.Lock()
		delete(h.sockets, s)
		h.mu.Unlock()
		close(s.gone)
		// The connection is someone else's once this handler has returned.
		_ = ws.NetConn().SetDeadline(time.Unix(1, 0))
		<-written
	})
	if err != nil && !errors.As(err, new(websocket.HandshakeError)) {
		ctx.Error("no upgrade", fasthttp.StatusBadRequest)
	}
}

func (h *hub) write(ws *websocket.Conn, s *hubSocket) error {
	var buffer []byte
	for {
		var m *hubMessage
		select {
		case m = <-s.queue:
		case <-s.gone:
			return nil
		}
		if h.mode == modePrepared {
			if err := ws.WritePreparedMessage(m.prepared); err != nil {
				return err
			}
			continue
		}
		buffer = append(buffer[:0], m.frame...)
		for waiting := true; waiting && len(buffer) < hubCoalesce; {
			select {
			case m := <-s.queue:
				buffer = append(buffer, m.frame...)
			default:
				waiting = false
			}
		}
		if _, err := ws.NetConn().Write(buffer); err != nil {
			return err
		}
	}
}

// serverFrame builds an unmasked text frame of less than 64 KiB (RFC 6455, 5.2).
func serverFrame(payload []byte) []byte {
	n := len(payload)
	b := make([]byte, 0, n+4)
	if n < 126 {
		b = append(b, 0x81, byte(n))
	} else {
		b = append(b, 0x81, 126, byte(n>>8), byte(n))
	}
	return append(b, payload...)
}

// startHub starts a bare hub; the address is where it listens.
func startHub(b *backing, mode string) (*child, string, error) {
	var address string
	c, err := spawnSelf(&address, childHub, "-redis", b.redisAt, "-mode", mode)
	return c, address, err
}
