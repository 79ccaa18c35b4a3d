package realtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
)

// Options configure a [Hub]. Redis and Logger are required; zero durations
// take the defaults named here.
type Options struct {
	// Redis carries messages between nodes. The hub makes one subscription of
	// its own and publishes through the client's pool; the client should have
	// ContextTimeoutEnabled, so that a publish keeps its deadline.
	Redis *redis.Client
	// Log fills holes. Nil is allowed where no topic is numbered.
	Log    LogReader
	Logger *slog.Logger
	Clock  clock.Clock

	// PublishTimeout bounds what a publish may wait for Redis (default 1 s).
	PublishTimeout time.Duration
	// CheckEvery is how often a watched topic is compared with its log, since
	// pub/sub loses silently (default 30 s).
	CheckEvery time.Duration
	// DegradedEvery is the same while Redis is away (default 1 s).
	DegradedEvery time.Duration
	// Linger is how long a topic without watchers stays subscribed, so that
	// reloading a page does not flap (default 10 s).
	Linger time.Duration
	// PingEvery is how often the subscription proves to be alive; silence of
	// twice as long means that it is not (default 3 s).
	PingEvery time.Duration
	// Patience is how long a number that was announced may be missing from the
	// log before the hub stops asking for it (default 10 s).
	Patience time.Duration
}

// Hub joins publishers and watchers of topics across nodes. Make it with
// [New], start it with [Hub.Run]. Safe for concurrent use.
//
// Locks nest in this order: hub, topic or projection, feed or subscription, and
// whatever a sink locks.
type Hub struct {
	opt     Options
	reads   chan struct{} // bounds concurrent log reads
	logAway atomic.Bool
	fillq   chan *topic

	mu          sync.RWMutex
	topics      map[string]*topic
	projections map[string]*projection
	changes     []change // subscriptions to send, bounded by the topics that changed
	changed     chan struct{}
	session     uint64
	state       State

	retryMu sync.Mutex
	retry   map[*topic]struct{}

	sayMu  sync.Mutex
	away   bool // publishing failed and has not worked since
	unsaid map[string]struct{}
	// waiting is what nobody has said yet, at most one entry for each caller; turn
	// is held by the caller who speaks for all of them.
	waiting []*spoken
	turn    chan struct{}

	running sync.WaitGroup // projections
	stop    chan struct{}  // closed when Run ends
}

type change struct {
	name string
	on   bool
}

const (
	fillers = 4
	// maxHeads bounds how many topics are compared with their logs at once.
	maxHeads      = 128
	maxReads      = 8
	maxUnsaid     = 4096
	tick          = 200 * time.Millisecond
	controlPrefix = "sys:"
	// checkEvent tells the other nodes to compare a topic with its log.
	checkEvent = "heddle.check"
	// ownTopic keeps the subscription's connection open without any watcher.
	ownTopic = controlPrefix + "hub"
)

// isControl says whether a topic is for services rather than clients: it has
// no log and no numbers.
func isControl(topic string) bool { return strings.HasPrefix(topic, controlPrefix) }

// State tells whether messages of other nodes arrive at once.
type State struct {
	Connected bool
	// Reason says in plain words why not; for operators.
	Reason string
	Since  time.Time
}

// New makes a hub that does nothing before [Hub.Run].
func New(o Options) *Hub {
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	for d, def := range map[*time.Duration]time.Duration{
		&o.PublishTimeout: time.Second, &o.CheckEvery: 30 * time.Second, &o.DegradedEvery: time.Second,
		&o.Linger: 10 * time.Second, &o.PingEvery: 3 * time.Second, &o.Patience: 10 * time.Second,
	} {
		if *d <= 0 {
			*d = def
		}
	}
	return &Hub{
		opt:   o,
		reads: make(chan struct{}, maxReads), fillq: make(chan *topic, 1024),
		topics: map[string]*topic{}, projections: map[string]*projection{},
		changed: make(chan struct{}, 1), retry: map[*topic]struct{}{}, unsaid: map[string]struct{}{}, turn: make(chan struct{}, 1),
		state: State{Reason: "not started", Since: o.Clock.Now()}, stop: make(chan struct{}),
	}
}

// Run keeps the subscription, fills holes and checks positions until ctx ends,
// and returns when every goroutine of the hub has ended. Call it once.
func (h *Hub) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { h.listen(ctx) })
	wg.Go(func() { h.tend(ctx) })
	wg.Go(func() { h.remind(ctx) })
	for range fillers {
		wg.Go(func() { h.filler(ctx) })
	}
	<-ctx.Done()
	h.mu.Lock()
	close(h.stop)
	h.mu.Unlock()
	wg.Wait()
	h.running.Wait()
	return nil
}

// State reports whether the hub hears the other nodes.
func (h *Hub) State() State {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.state
}

// ErrStopped is the cause of what a hub refuses once [Hub.Run] has been told to
// end: it hears of nothing any more.
var ErrStopped = errors.New("the hub has stopped")

// stopped is the reason of a hub that was told to end; it is no news.
const stopped = "stopped"

func (h *Hub) setState(connected bool, reason string) {
	h.mu.Lock()
	before := h.state
	if before.Connected != connected || before.Reason != reason {
		h.state = State{Connected: connected, Reason: reason, Since: h.opt.Clock.Now()}
	}
	h.mu.Unlock()
	switch {
	case connected && !before.Connected:
		h.opt.Logger.Info("hub connected to redis")
	case !connected && before.Connected && reason != stopped:
		h.opt.Logger.Warn("hub lost redis, watchers are served from the log", "err", reason)
	}
}

// Attachment is one sink's place on a topic.
type Attachment struct {
	hub   *Hub
	topic *topic
	sink  Sink
	once  sync.Once
	// At is the position of the topic when the sink was added: everything
	// after it is delivered.
	At Position
}

// Attach adds s to topic and waits until the topic's position is known. Most
// callers want [Hub.Feed] or [Hub.Subscribe], which also replay.
func (h *Hub) Attach(ctx context.Context, topic string, s Sink) (*Attachment, error) {
	t := h.acquire(topic, s)
	a := &Attachment{hub: h, topic: t, sink: s}
	t.mu.Lock()
	known := t.known
	a.At = t.at
	t.mu.Unlock()
	if known {
		return a, nil
	}
	h.request(t)
	select {
	case <-t.primed:
		t.mu.Lock()
		a.At = t.at
		t.mu.Unlock()
		return a, nil
	case <-h.stop:
		a.Detach()
		return nil, fault.Unavailable("The server is stopping.", ErrStopped)
	case <-ctx.Done():
		a.Detach()
		return nil, fault.Unavailable("The log cannot be read at the moment.",
			fmt.Errorf("waiting for the position of %s: %w", topic, ctx.Err()))
	}
}

// Detach ends the deliveries. It waits for one in progress, so a sink must not
// call it from its own methods.
func (a *Attachment) Detach() {
	a.once.Do(func() { a.topic.remove(a.sink, a.hub.opt.Clock.Now()) })
}

// acquire finds or makes the topic and adds the sink while the map is locked,
// so that a topic is never dropped between the two.
func (h *Hub) acquire(name string, s Sink) *topic {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[name]
	if t == nil {
		t = &topic{name: name, primed: make(chan struct{}), known: isControl(name) || h.opt.Log == nil}
		if t.known {
			close(t.primed)
		}
		h.topics[name] = t
		h.steerLocked(change{name, true})
	}
	t.add(s)
	return t
}

func (h *Hub) lookup(name string) *topic {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.topics[name]
}

// Listen calls fn for every notice on topic until ctx ends. It is meant for
// control topics such as "sys:wake": fn may block, and notices that come in
// faster than it keeps up with are dropped beyond a bound.
func (h *Hub) Listen(ctx context.Context, topic string, fn func(Message)) error {
	sub, err := h.Subscribe(ctx, topic)
	if err != nil {
		return err
	}
	defer sub.Close()
	for {
		ds, err := sub.Next(ctx)
		var reset *ResetError
		switch {
		case errors.As(err, &reset):
			continue
		case err != nil:
			return err
		}
		for _, d := range ds {
			if d.Seq == 0 {
				fn(d.Message)
			}
		}
	}
}
