//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// A message carries `TTTTTTTTTTTTTTTTTTT`, 19 digits of Unix nanoseconds between
// backquotes, exactly once. The audience parses no frames, it looks for that
// stamp in the bytes: it counts right however frames are batched or cut, and it
// costs little more than its reads.
const (
	stampMark  = '`'
	stampBytes = 21
)

// protocol is how a socket gets to watch.
type protocol struct {
	path   string
	header string // lines of the upgrade request, each ended by \r\n
	join   string // text frame to send after the upgrade; "" for none
	ack    string // part of the answer that says that the join is done
	beat   string // heartbeat; "" for none
}

// audience watches with many sockets from one thread, by epoll.
type audience struct {
	epoll   int
	seats   []*seat
	byFD    []*seat
	beat    []byte
	nap     time.Duration // rest after each round: fewer wake-ups, larger reads
	from    atomic.Int64  // stamps from here on count
	got     atomic.Int64  // counted messages
	all     atomic.Int64  // every message
	closed  atomic.Int64  // sockets that the server closed
	last    atomic.Int64  // when the last message came
	stop    atomic.Bool
	done    sync.WaitGroup
	latency histogram // the loop's until done
}

type seat struct {
	fd    int
	carry []byte // the cut beginning of a stamp
	got   int64
}

// seatAll opens n sockets, several at a time, each with the protocol of its
// number, and returns the last join's acknowledgement. The first that fails
// ends it.
func seatAll(ctx context.Context, address string, n int, of func(i int) protocol, nap time.Duration) (*audience, []byte, error) {
	a := &audience{nap: nap, beat: clientFrame([]byte(of(0).beat))}
	a.from.Store(1 << 62)
	seats, acks := make([]*seat, n), make([][]byte, n)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				var err error
				if seats[i], acks[i], err = sit(address, of(i)); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	for _, s := range seats {
		if s != nil {
			a.seats = append(a.seats, s)
		}
	}
	err := context.Cause(ctx)
	if err == nil {
		err = a.open()
	}
	if err != nil {
		for _, s := range a.seats {
			_ = syscall.Close(s.fd)
		}
		return nil, nil, err
	}
	return a, acks[n-1], nil
}

func (a *audience) open() error {
	var err error
	if a.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("watching sockets: %w", err)
	}
	for _, s := range a.seats {
		for len(a.byFD) <= s.fd {
			a.byFD = append(a.byFD, nil)
		}
		a.byFD[s.fd] = s
		event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP, Fd: int32(s.fd)}
		if err := syscall.EpollCtl(a.epoll, syscall.EPOLL_CTL_ADD, s.fd, &event); err != nil {
			return fmt.Errorf("watching a socket: %w", err)
		}
	}
	a.done.Go(a.loop)
	return nil
}

// sit opens one socket and joins.
func sit(address string, p protocol) (*seat, []byte, error) {
	var ip [4]byte
	var port int
	if _, err := fmt.Sscanf(address, "%d.%d.%d.%d:%d", &ip[0], &ip[1], &ip[2], &ip[3], &port); err != nil {
		return nil, nil, fmt.Errorf("reading the address %s: %w", address, err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket: %w", err)
	}
	ack, err := enter(fd, address, &syscall.SockaddrInet4{Port: port, Addr: ip}, p)
	if err != nil {
		return nil, nil, errors.Join(err, syscall.Close(fd))
	}
	return &seat{fd: fd}, ack, nil
}

func enter(fd int, address string, to syscall.Sockaddr, p protocol) ([]byte, error) {
	if err := syscall.Connect(fd, to); err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	limit := syscall.Timeval{Sec: 10}
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &limit); err != nil {
		return nil, fmt.Errorf("setting a deadline: %w", err)
	}
	request := "GET " + p.path + " HTTP/1.1\r\nHost: " + address + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" + p.header + "\r\n"
	if _, err := syscall.Write(fd, []byte(request)); err != nil {
		return nil, fmt.Errorf("asking for an upgrade: %w", err)
	}
	read, err := readUntil(fd, nil, "\r\n\r\n")
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(read, []byte("HTTP/1.1 101")) {
		return nil, fmt.Errorf("no upgrade: %.200q", read)
	}
	if p.join != "" {
		if _, err := syscall.Write(fd, clientFrame([]byte(p.join))); err != nil {
			return nil, fmt.Errorf("joining: %w", err)
		}
		_, rest, _ := bytes.Cut(read, []byte("\r\n\r\n"))
		if read, err = readUntil(fd, rest, p.ack); err != nil {
			return nil, err
		}
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("making a socket nonblocking: %w", err)
	}
	return read, nil
}

func readUntil(fd int, read []byte, part string) ([]byte, error) {
	var piece [2048]byte
	for !bytes.Contains(read, []byte(part)) {
		n, err := syscall.Read(fd, piece[:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 || len(read) > 1<<16 {
			return nil, fmt.Errorf("waiting for %q: %w after %.200q", part, errors.Join(err, syscall.ECONNRESET), read)
		}
		read = append(read, piece[:n]...)
	}
	return read, nil
}

// loop reads from all sockets until the audience leaves.
func (a *audience) loop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const room = 64 // before the bytes read, for what was carried over
	events := make([]syscall.EpollEvent, 512)
	buffer := make([]byte, room+1<<18)
	beaten, nextBeat := 0, time.Now().Add(time.Second)
	for !a.stop.Load() {
		n, err := syscall.EpollWait(a.epoll, events, 20)
		if err != nil && err != syscall.EINTR {
			a.closed.Add(int64(len(a.seats)))
			return
		}
		if len(a.beat) > 6 && time.Now().After(nextBeat) { // a twentieth of the sockets each second
			for range len(a.seats)/20 + 1 {
				if s := a.seats[beaten%len(a.seats)]; s.fd >= 0 {
					_, _ = syscall.Write(s.fd, a.beat) // a broken socket is seen by the read
				}
				beaten++
			}
			nextBeat = nextBeat.Add(time.Second)
		}
		before := a.all.Load()
		for _, event := range events[:max(n, 0)] {
			s := a.byFD[event.Fd]
			if s == nil {
				continue
			}
			m, errno := readNow(s.fd, buffer[room:])
			if errno == syscall.EAGAIN || errno == syscall.EINTR {
				continue
			}
			if errno != 0 || m <= 0 {
				a.drop(s)
				continue
			}
			start := room - len(s.carry)
			copy(buffer[start:], s.carry)
			a.count(s, buffer[start:room+m])
		}
		if a.all.Load() > before {
			a.last.Store(time.Now().UnixNano())
		}
		if a.nap > 0 {
			time.Sleep(a.nap)
		}
	}
}

// count finds the stamps in what a socket brought.
func (a *audience) count(s *seat, b []byte) {
	s.carry = s.carry[:0]
	now, from := time.Now().UnixNano(), a.from.Load()
	for {
		at := bytes.IndexByte(b, stampMark)
		if at < 0 {
			return
		}
		b = b[at:]
		if len(b) < stampBytes {
			s.carry = append(s.carry, b...)
			return
		}
		stamp, ok := readStamp(b)
		if !ok {
			b = b[1:]
			continue
		}
		b = b[stampBytes:]
		a.all.Add(1)
		if stamp >= from {
			a.got.Add(1)
			s.got++
			a.latency.add((now - stamp) / 1000)
		}
	}
}

func readStamp(b []byte) (int64, bool) {
	var stamp int64
	for _, c := range b[1 : stampBytes-1] {
		if c < '0' || c > '9' {
			return 0, false
		}
		stamp = stamp*10 + int64(c-'0')
	}
	return stamp, b[stampBytes-1] == stampMark
}

func (a *audience) drop(s *seat) {
	if s.fd < 0 {
		return
	}
	a.byFD[s.fd] = nil
	_ = syscall.Close(s.fd) // nothing of it is needed any more
	s.fd = -1
	if !a.stop.Load() {
		a.closed.Add(1)
	}
}

// leave closes all sockets.
func (a *audience) leave() {
	a.stop.Store(true)
	a.done.Wait()
	for _, s := range a.seats {
		a.drop(s)
	}
	_ = syscall.Close(a.epoll) // nothing watches any more
}

// readNow is read(2) on a nonblocking socket without telling the scheduler: the
// loop has its thread for itself.
func readNow(fd int, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	return int(n), errno
}

// clientFrame builds a masked text frame with a zero mask (RFC 6455, 5.2).
func clientFrame(p []byte) []byte {
	b := []byte{0x81}
	if len(p) < 126 {
		b = append(b, 0x80|byte(len(p)))
	} else {
		b = append(b, 0x80|126, byte(len(p)>>8), byte(len(p)))
	}
	return append(append(b, 0, 0, 0, 0), p...)
}

// histogram of microseconds: exact below 64, then in steps of about 1.5 %.
type histogram struct {
	count [64 * 40]int64
	all   int64
}

func (h *histogram) add(us int64) {
	us = max(us, 0)
	i := int(us)
	if us >= 64 {
		e := bits.Len64(uint64(us)) - 7
		i = min(e<<6+int(us>>e), len(h.count)-1)
	}
	h.count[i]++
	h.all++
}

// quantile in milliseconds.
func (h *histogram) quantile(q float64) float64 {
	want := int64(q * float64(h.all))
	var seen int64
	for i, n := range h.count {
		if seen += n; n > 0 && seen > want {
			us := int64(i)
			if i >= 64 {
				e := i>>6 - 1
				us = int64(i-e<<6) << e
			}
			return float64(us) / 1000
		}
	}
	return 0
}
