package socket_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/fasthttp/websocket"
	"github.com/gofiber/fiber/v2"
	"github.com/redis/go-redis/v9"

	"github.com/heddle/heddle/realtime"
	"github.com/heddle/heddle/realtime/socket"
)

// BenchmarkFanOut sends 200-byte messages from one topic to 1,000 sockets, each
// as soon as all have the one 32 before it. One operation is one message, that
// is 1,000 deliveries, which the metric counts.
func BenchmarkFanOut(b *testing.B) {
	const sockets, size, ahead = 1000, 200, 32
	server := miniredis.RunT(b)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	defer client.Close()
	log := &tokenLog{rows: map[string][]realtime.Message{}}
	quiet := slog.New(slog.DiscardHandler)
	hub := realtime.New(realtime.Options{Redis: client, Log: log, Logger: quiet})
	router := socket.NewRouter()
	router.Handle("room:*", &rooms{log: log})
	s, err := socket.New(socket.Options{Hub: hub, Router: router, Logger: quiet, PerKey: sockets, Origins: []string{origin},
		Authenticate: func(context.Context, socket.Handshake) (socket.Identity, error) {
			return person{key: "k", session: "s", gone: &sync.Map{}}, nil
		}})
	if err != nil {
		b.Fatal(err)
	}
	app := fiber.New(fiber.Config{DisableStartupMessage: true, ReduceMemoryUsage: true})
	app.Get("/socket/websocket", s.Handler())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = hub.Run(ctx) })
	wg.Go(func() { _ = s.Run(ctx) })
	wg.Go(func() { _ = app.Listener(l) })
	defer func() { cancel(); _ = app.Shutdown(); wg.Wait() }()

	// Readers count bytes only, so that the client costs little.
	var received atomic.Int64
	moved := make(chan struct{}, 1)
	url := fmt.Sprintf("ws://%s/socket/websocket?vsn=2.0.0", l.Addr())
	for range sockets {
		ws, _, err := websocket.DefaultDialer.Dial(url, http.Header{"Origin": {origin}})
		if err != nil {
			b.Fatal(err)
		}
		defer ws.Close()
		if err := ws.WriteMessage(websocket.TextMessage, []byte(`["1","1","room:a","phx_join",{}]`)); err != nil {
			b.Fatal(err)
		}
		if _, _, err := ws.ReadMessage(); err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			buf := make([]byte, 64<<10)
			for {
				n, err := ws.NetConn().Read(buf)
				if err != nil {
					return
				}
				received.Add(int64(n))
				select {
				case moved <- struct{}{}:
				default:
				}
			}
		})
	}
	payload := fmt.Appendf(nil, `{"pad":%q}`, strings.Repeat("x", size-10))
	frame := int64(4 + len(`["1",null,"room:a","envelope",]`) + len(payload))
	seq := int64(0)
	for b.Loop() {
		seq++
		m := realtime.Message{Event: "envelope", Seq: seq, Epoch: "e1", Payload: payload}
		if err := hub.Publish(ctx, "org:1:room:a", m); err != nil {
			b.Fatal(err)
		}
		for received.Load() < (seq-ahead)*frame*sockets {
			<-moved
		}
	}
	for received.Load() < seq*frame*sockets {
		<-moved
	}
	b.ReportMetric(float64(seq)*sockets/b.Elapsed().Seconds(), "deliveries/s")
}
