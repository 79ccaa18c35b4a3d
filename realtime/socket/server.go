package socket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/realtime"
)

// topicDisconnect is the hub topic that ends sockets on every node.
const topicDisconnect = "sys:disconnect"

// Options configure a [Server]. Hub, Router, Authenticate and Logger are
// required; zero numbers and durations take the defaults named here.
type Options struct {
	Hub    *realtime.Hub
	Router *Router
	Logger *slog.Logger
	Clock  clock.Clock
	// Authenticate decides who a client is. Its fault's kind becomes the HTTP
	// status of the refused upgrade.
	Authenticate func(ctx context.Context, h Handshake) (Identity, error)
	// Revalidate returns which of the given sessions are no longer valid. It is
	// asked every RevalidateEvery for all open sockets, so that a revoked one
	// closes even when Redis lost the news. Nil asks nobody.
	Revalidate func(ctx context.Context, sessions []string) (gone []string, err error)
	// Address says where a request comes from (default Fiber's Ctx.IP).
	Address func(c *fiber.Ctx) string
	// Reply maps an error to the response of a refused command (default
	// [ErrorReply]).
	Reply func(error) any
	// Origins are the exact origins browsers may connect from, such as
	// "https://heddle.example". None means that no browser may.
	Origins []string

	FrameBytes      int           // most bytes of a client's frame (64 KiB)
	Topics          int           // most topics of a socket (64)
	PerKey          int           // most sockets of one Identity.Key on this node (100)
	PerSecond       int           // messages per second of a socket (50)
	Burst           int           // messages at once (200)
	QueueFrames     int           // most frames that wait for a socket (1024)
	QueueBytes      int           // most bytes that wait for a socket (1 MiB)
	Stall           time.Duration // a socket that takes nothing this long is closed (10 s)
	Silence         time.Duration // a socket that says nothing this long is closed (60 s)
	SweepEvery      time.Duration // how often silence is looked for (5 s)
	RevalidateEvery time.Duration // how often sessions are asked for (4 s)
	CommandTimeout  time.Duration // deadline of a join or push (10 s)
}

// Server holds the sockets of this node. Make it with [New], start it with
// [Server.Run], mount [Server.Handler], and end it with [Server.Drain] before
// Run's context is cancelled.
type Server struct {
	opt  Options
	pool *pool

	mu       sync.Mutex
	conns    map[*conn]struct{}
	byID     map[string]map[*conn]struct{}
	open     bool
	handlers sync.WaitGroup
}

// New checks the options.
func New(o Options) (*Server, error) {
	if o.Hub == nil || o.Router == nil || o.Authenticate == nil || o.Logger == nil {
		return nil, errors.New("socket server: hub, router, authenticate and logger are required")
	}
	for _, origin := range o.Origins {
		if origin == "*" || !strings.Contains(origin, "://") || strings.HasSuffix(origin, "/") {
			return nil, fmt.Errorf("socket server: origin %q: must be scheme://host[:port]", origin)
		}
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Reply == nil {
		o.Reply = ErrorReply
	}
	if o.Address == nil {
		o.Address = (*fiber.Ctx).IP
	}
	for n, def := range map[*int]int{
		&o.FrameBytes: 64 << 10, &o.Topics: 64, &o.PerKey: 100, &o.PerSecond: 50, &o.Burst: 200,
		&o.QueueFrames: 1024, &o.QueueBytes: 1 << 20,
	} {
		if *n <= 0 {
			*n = def
		}
	}
	for d, def := range map[*time.Duration]time.Duration{
		&o.Stall: 10 * time.Second, &o.Silence: time.Minute, &o.SweepEvery: 5 * time.Second,
		&o.RevalidateEvery: 4 * time.Second, &o.CommandTimeout: 10 * time.Second,
	} {
		if *d <= 0 {
			*d = def
		}
	}
	return &Server{opt: o, pool: newPool(), conns: map[*conn]struct{}{}, byID: map[string]map[*conn]struct{}{}}, nil
}

// Run writes for all sockets and watches over them until ctx ends. Then it cuts
// off whoever is still connected and returns when nothing of the server runs
// any more. Call it once.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	s.open = true
	s.mu.Unlock()
	var workers, watchers sync.WaitGroup
	for range max(2, runtime.GOMAXPROCS(0)) {
		workers.Go(s.pool.work)
	}
	watchers.Go(func() { s.every(ctx, s.opt.SweepEvery, s.sweep) })
	watchers.Go(func() { s.every(ctx, s.opt.RevalidateEvery, s.revalidate) })
	watchers.Go(func() {
		err := s.opt.Hub.Listen(ctx, topicDisconnect, func(m realtime.Message) {
			var d disconnect
			if err := json.Unmarshal(m.Payload, &d); err != nil {
				s.opt.Logger.Warn("unreadable order to disconnect", "err", err)
				return
			}
			s.disconnect(d)
		})
		if err != nil && ctx.Err() == nil {
			s.opt.Logger.Error("orders to disconnect are no longer heard", "err", err)
		}
	})
	<-ctx.Done()
	s.mu.Lock()
	s.open = false
	for c := range s.conns {
		c.out.abort()
	}
	s.mu.Unlock()
	s.handlers.Wait()
	s.pool.close()
	workers.Wait()
	watchers.Wait()
	return nil
}

func (s *Server) every(ctx context.Context, d time.Duration, do func(context.Context)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.opt.Clock.After(d):
			do(ctx)
		}
	}
}

// sweep closes the sockets that have been silent for too long.
func (s *Server) sweep(context.Context) {
	oldest := s.opt.Clock.Now().Add(-s.opt.Silence).UnixNano()
	for _, c := range s.all() {
		if c.seen.Load() < oldest {
			c.close(CloseSilent, "no heartbeat")
		}
	}
}

// revalidateBatch bounds the sessions of one question.
const revalidateBatch = 1000

// revalidate closes the sockets whose session has ended.
func (s *Server) revalidate(ctx context.Context) {
	if s.opt.Revalidate == nil {
		return
	}
	s.mu.Lock()
	sessions := map[string]struct{}{}
	for c := range s.conns {
		sessions[c.id.Session()] = struct{}{}
	}
	s.mu.Unlock()
	ids := make([]string, 0, len(sessions))
	for id := range sessions {
		ids = append(ids, id)
	}
	for batch := range slices.Chunk(ids, revalidateBatch) {
		ctx, cancel := context.WithTimeout(ctx, s.opt.RevalidateEvery)
		gone, err := s.opt.Revalidate(ctx, batch)
		cancel()
		if err != nil {
			s.opt.Logger.Warn("sessions of sockets could not be checked", "err", err)
			continue
		}
		for _, id := range gone {
			s.disconnect(disconnect{ID: id, Reason: "the session ended"})
		}
	}
}

type disconnect struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// Disconnect closes every socket whose Identity has id as Key or Session, on
// every node. The reason is shown to the client. An error says that other nodes
// were not reached; their own check closes the sockets within RevalidateEvery.
func (s *Server) Disconnect(ctx context.Context, id, reason string) error {
	d := disconnect{ID: id, Reason: reason}
	s.disconnect(d)
	payload, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encoding the order to disconnect: %w", err)
	}
	return s.opt.Hub.Publish(ctx, topicDisconnect, realtime.Message{Event: "disconnect", Payload: payload})
}

func (s *Server) disconnect(d disconnect) {
	s.mu.Lock()
	conns := make([]*conn, 0, len(s.byID[d.ID]))
	for c := range s.byID[d.ID] {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.close(CloseRevoked, d.Reason)
	}
}

// Drain refuses new sockets, asks the open ones to connect elsewhere (close
// code 1012, a few at a time so that the other nodes are not stormed), and
// waits until they have gone or ctx ends.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.open = false
	s.mu.Unlock()
	const atOnce, pause = 200, 20 * time.Millisecond
	for batch := range slices.Chunk(s.all(), atOnce) {
		for _, c := range batch {
			c.close(CloseRestart, "the server is restarting")
		}
		select {
		case <-ctx.Done():
		case <-s.opt.Clock.After(pause):
		}
	}
	gone := make(chan struct{})
	go func() { // ends with the handlers, for which Run waits as well
		s.handlers.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("draining %d sockets: %w", len(s.all()), ctx.Err())
	}
}

// Stats are numbers of this node.
type Stats struct {
	Sockets int // open now
	Topics  int // joined now
	// Lags counts the places that sockets lost since the start, because they
	// read too slowly or a log was cut.
	Lags int64
}

// Stats counts; it is meant for metrics.
func (s *Server) Stats() Stats {
	all := s.all()
	st := Stats{Sockets: len(all), Lags: s.pool.lags.Load()}
	for _, c := range all {
		c.mu.Lock()
		st.Topics += len(c.members)
		c.mu.Unlock()
	}
	return st
}

func (s *Server) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	return all
}

// enter registers c unless the server is closed. A crowded one is registered
// only to be told so: it came at the same time as others.
func (s *Server) enter(c *conn) (entered, crowded bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open {
		return false, false
	}
	crowded = len(s.byID[c.id.Key()]) >= s.opt.PerKey
	s.handlers.Add(1)
	s.conns[c] = struct{}{}
	for _, id := range ids(c) {
		if s.byID[id] == nil {
			s.byID[id] = map[*conn]struct{}{}
		}
		s.byID[id][c] = struct{}{}
	}
	return true, crowded
}

func (s *Server) exit(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	for _, id := range ids(c) {
		delete(s.byID[id], c)
		if len(s.byID[id]) == 0 {
			delete(s.byID, id)
		}
	}
	s.handlers.Done()
}

func ids(c *conn) []string { return []string{c.id.Key(), c.id.Session()} }
