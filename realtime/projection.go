package realtime

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/heddle/heddle/internal/fault"
)

// ViewEvent is the event of the frames a projection sends.
const ViewEvent = "view"

// viewsPerSecond bounds the frames of one projection (design: about 12).
const viewsPerSecond = 12

// loadTimeout bounds how long a projector may take to load its snapshot.
const loadTimeout = 10 * time.Second

// Projector turns the numbered messages of one topic into what a page shows.
// It is neutral to who watches: one serves every socket of the node with the
// same topic, format and locale. Its methods are never called concurrently and
// touch nothing slower than memory, except Load. After an error it is dropped.
type Projector interface {
	// Load takes a snapshot and returns where it stands. Called first, once.
	Load(ctx context.Context) (Position, error)
	// Apply takes the next message, notices excluded.
	Apply(m Message) error
	// Changed returns the payload with every region changed after the number
	// after, as of the last message applied; nil if there is none.
	Changed(after int64) ([]byte, error)
	// Flush returns the payload with every region changed since the last Flush
	// or since Load; nil if there is none.
	Flush() ([]byte, error)
}

// View is one sink's place on a projection.
type View struct {
	// At is where the view starts.
	At Position
	// Cut says that the page's state does not go on: it has to be fetched anew.
	Cut bool

	hub   *Hub
	p     *projection
	sink  Sink
	start Start
	once  sync.Once
}

// Project joins sink to the projection of topic called name (format and
// locale), starting it with new's projector if this node has none. Nothing is
// delivered before [View.Begin].
func (h *Hub) Project(ctx context.Context, topic, name string, new func() Projector, start Start, sink Sink) (*View, error) {
	p, err := h.acquireProjection(topic, name, new)
	if err != nil {
		return nil, err
	}
	v := &View{hub: h, p: p, sink: sink, start: start}
	select {
	case <-p.loaded:
	case <-ctx.Done():
		v.Close()
		return nil, fault.Unavailable("The page's live state cannot be read at the moment.",
			fmt.Errorf("loading projection of %s: %w", topic, ctx.Err()))
	}
	p.mu.Lock()
	v.At, err = p.at, p.err
	p.mu.Unlock()
	if err != nil {
		v.Close()
		return nil, err
	}
	v.Cut = start.HasAfter && start.Epoch != "" && v.At.Epoch != "" && start.Epoch != v.At.Epoch
	if t := h.lookup(topic); v.Cut && t != nil {
		h.check(t) // it may be this node that has not heard of a cut
	}
	return v, nil
}

// Begin sends every region changed since the start, as of one number, and goes
// live. It never replays.
func (v *View) Begin() {
	v.p.begin(v)
}

// Close ends the deliveries. It must not be called from the sink's methods.
func (v *View) Close() {
	v.once.Do(func() {
		v.p.mu.Lock()
		if i := slices.Index(v.p.sinks, v.sink); i >= 0 {
			v.p.sinks = slices.Delete(v.p.sinks, i, i+1)
		}
		v.p.mu.Unlock()
		v.hub.mu.Lock()
		defer v.hub.mu.Unlock()
		v.p.refs--
		v.p.idleSince = v.hub.opt.Clock.Now()
	})
}

// projection keeps one projector at the head of its topic.
type projection struct {
	hub   *Hub
	topic string
	key   string

	// Guarded by the hub's lock.
	refs      int
	idleSince time.Time
	stop      chan struct{}

	loaded chan struct{} // closed when at or err is set

	mu    sync.Mutex
	proj  Projector
	at    Position
	err   error
	sinks []Sink
}

func (h *Hub) acquireProjection(topic, name string, new func() Projector) (*projection, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.stop:
		return nil, fault.Unavailable("The server is stopping.", ErrStopped)
	default:
	}
	key := topic + "\x00" + name
	p := h.projections[key]
	if p == nil {
		p = &projection{hub: h, topic: topic, key: key, proj: new(),
			stop: make(chan struct{}), loaded: make(chan struct{})}
		h.projections[key] = p
		h.running.Go(p.run)
	}
	p.refs++
	return p, nil
}

// dropIdleProjections ends those nobody has watched for a while. The caller
// holds h.mu.
func (h *Hub) dropIdleProjections(now time.Time) {
	for key, p := range h.projections {
		if p.refs == 0 && now.Sub(p.idleSince) >= h.opt.Linger {
			delete(h.projections, key)
			close(p.stop)
		}
	}
}

func (p *projection) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p.hub.running.Go(func() {
		select {
		case <-p.stop:
		case <-p.hub.stop:
		case <-ctx.Done():
		}
		cancel()
	})
	p.end(p.follow(ctx))
}

// end forgets the projection and sends whoever watches to join again.
func (p *projection) end(err error) {
	p.hub.mu.Lock()
	if p.hub.projections[p.key] == p {
		delete(p.hub.projections, p.key)
	}
	p.hub.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err = err; p.err == nil {
		p.err = fault.Unavailable("The page's live state has to be joined again.", nil)
	}
	select {
	case <-p.loaded:
	default:
		close(p.loaded)
	}
	for _, s := range p.sinks {
		s.Reset(p.at)
	}
	p.sinks = nil
}

func (p *projection) follow(ctx context.Context) (err error) {
	defer func() {
		if r := recover(); r != nil {
			p.hub.opt.Logger.Error("projector panicked", "topic", p.topic, "err", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = fmt.Errorf("projector of %s panicked", p.topic)
		}
	}()
	loading, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	at, err := p.proj.Load(loading)
	if err != nil {
		return fmt.Errorf("loading projection of %s: %w", p.topic, err)
	}
	sub, err := p.hub.SubscribeFrom(loading, p.topic, Start{After: at.Seq, HasAfter: true, Epoch: at.Epoch})
	if err != nil {
		return err
	}
	defer sub.Close()
	if sub.Cut {
		return fault.Unavailable("The log was cut a moment ago. Try again.", nil)
	}
	p.mu.Lock()
	p.at = at
	close(p.loaded)
	p.mu.Unlock()

	const interval = time.Second / viewsPerSecond
	var last time.Time
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-due:
			due = nil
		case <-sub.Ready():
			ds, err := sub.Poll(ctx)
			if reset := (*ResetError)(nil); errors.As(err, &reset) || ctx.Err() != nil {
				return nil
			}
			if err != nil {
				select {
				case <-ctx.Done():
					return nil
				case <-p.hub.opt.Clock.After(retryAfter):
				}
				continue
			}
			changed, err := p.apply(ds)
			if err != nil {
				return err
			}
			if !changed || due != nil {
				continue
			}
			if wait := interval - p.hub.opt.Clock.Now().Sub(last); wait > 0 {
				due = p.hub.opt.Clock.After(wait)
				continue
			}
		}
		if due == nil {
			last = p.hub.opt.Clock.Now()
			if err := p.flush(); err != nil {
				return err
			}
		}
	}
}

func (p *projection) apply(ds []*Delivery) (changed bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range ds {
		if d.Seq == 0 {
			p.emit(d)
			continue
		}
		if err := p.proj.Apply(d.Message); err != nil {
			return false, fmt.Errorf("applying number %d of %s: %w", d.Seq, p.topic, err)
		}
		p.at = Position{Seq: d.Seq, Epoch: d.Epoch}
		changed = true
	}
	return changed, nil
}

func (p *projection) flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	payload, err := p.proj.Flush()
	if err != nil {
		return fmt.Errorf("rendering the view of %s: %w", p.topic, err)
	}
	if payload != nil {
		p.emit(p.view(payload))
	}
	return nil
}

func (p *projection) view(payload []byte) *Delivery {
	return &Delivery{Message: Message{Event: ViewEvent, Seq: p.at.Seq, Epoch: p.at.Epoch, Payload: payload}}
}

func (p *projection) emit(d *Delivery) {
	for _, s := range p.sinks {
		s.Deliver(d)
	}
}

func (p *projection) begin(v *View) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		v.sink.Reset(p.at)
		return
	}
	if v.start.HasAfter && !v.Cut {
		payload, err := p.changed(v.start.After)
		if err != nil {
			p.hub.opt.Logger.Error("view could not be rendered for a join", "topic", p.topic, "err", err)
			v.sink.Reset(p.at)
			return
		}
		if payload != nil {
			v.sink.Deliver(p.view(payload))
		}
	}
	p.sinks = append(p.sinks, v.sink)
}

// changed asks the projector outside its own goroutine, where a panic would
// otherwise end the process.
func (p *projection) changed(after int64) (payload []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("projector of %s panicked: %v", p.topic, r)
		}
	}()
	return p.proj.Changed(after)
}
