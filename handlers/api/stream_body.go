package api

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/internal/fault"
)

// Numbered is an envelope of a thread's log as every client receives it.
type Numbered struct {
	Seq     int64
	Payload []byte
}

// Feed gives the envelopes of a thread, every number after its beginning once and
// in order, however slow its reader is.
type Feed interface {
	// Next waits for the next envelopes. ErrCut says that the numbers do not go
	// on: what is between is gone. Any other error ends the wait only.
	Next(ctx context.Context) ([]Numbered, error)
	// At is the number after which it begins.
	At() int64
	Close()
}

// ErrCut says that a feed's numbers do not go on from where they were.
var ErrCut = errors.New("the log was cut")

// stream is the body of an answer that never blocks a run: it reads the log at its
// client's pace, in the connection's own goroutine. It implements io.Reader for
// servers that know no better, and writes whole frames where it may.
type stream struct {
	// ctx outlives the handler; it ends when the server stops.
	ctx  context.Context
	feed Feed
	// from is the frame after which the stream goes on.
	from spot
	// opening is written at once, if there is something.
	opening *frame
	// project gives an envelope's frames, and whether the stream ends after them.
	project func(n Numbered) (frames []frame, over bool, err error)
	// check is asked with every heartbeat: whether the client may still watch, and
	// whether the run is over without our having heard of it.
	check func(ctx context.Context) (last *frame, over bool)
	// cut, if there is one, is told that numbers are missing.
	cut func()
	// gone is called once, when the client leaves before the end, done when it stays;
	// neither when the server leaves.
	gone, done func()

	beat  time.Time
	out   []byte
	over  bool
	shut  bool
	began bool
}

// SupportsBodyWriteTo tells fasthttp that writing gives what reading would.
func (s *stream) SupportsBodyWriteTo() bool { return true }

// WriteTo implements io.WriterTo. An error other than the writer's own means that
// the stream can't go on: the connection is closed in the middle of the answer, so
// that the client knows and comes back with the last id.
func (s *stream) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for {
		if err := s.fill(); err != nil {
			return written, err
		}
		if len(s.out) == 0 {
			return written, nil
		}
		n, err := w.Write(s.out)
		written += int64(n)
		s.out = s.out[:0]
		if err != nil {
			return written, err
		}
	}
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	if len(s.out) == 0 {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	if len(s.out) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.out)
	s.out = append(s.out[:0], s.out[n:]...)
	return n, nil
}

// Close implements io.Closer; the server calls it whatever the reason.
func (s *stream) Close() error {
	if s.shut {
		return nil
	}
	s.shut = true
	s.feed.Close()
	switch {
	case !s.over && s.ctx.Err() != nil:
	case !s.over && s.gone != nil:
		s.gone()
	case s.over && s.done != nil:
		s.done()
	}
	return nil
}

// fill gathers frames until there is something to send; nothing is the end.
func (s *stream) fill() error {
	if !s.began {
		s.began, s.beat = true, time.Now().Add(heartbeat)
		// Whatever it is, it takes the headers with it.
		if s.opening != nil {
			s.out = appendFrame(s.out, *s.opening, spot{seq: s.from.seq}.String())
		} else {
			s.out = append(s.out, ": open\n\n"...)
		}
	}
	for len(s.out) == 0 && !s.over {
		if s.ctx.Err() != nil {
			return errMoved
		}
		if err := s.wait(); err != nil {
			return err
		}
	}
	return nil
}

// wait takes what comes next: envelopes, or the time for a heartbeat.
func (s *stream) wait() error {
	ctx, cancel := context.WithDeadline(s.ctx, s.beat)
	numbered, err := s.feed.Next(ctx)
	cancel()
	for _, n := range numbered {
		if err := s.take(n); err != nil || s.over {
			return err
		}
	}
	switch {
	case err == nil, errors.Is(err, context.DeadlineExceeded), s.ctx.Err() != nil:
	case errors.Is(err, ErrCut):
		if s.cut != nil {
			s.cut()
		}
		s.ask() // the end may be among what is gone
	case fault.Is(err, fault.KindUnavailable):
		return err // the server stops: the client goes on elsewhere
	default:
		s.ask()
	}
	if now := time.Now(); !now.Before(s.beat) {
		s.beat = now.Add(heartbeat)
		s.out = append(s.out, ": heartbeat\n\n"...)
		s.ask()
	}
	return nil
}

// take writes the frames of one envelope that come after where the client stands.
func (s *stream) take(n Numbered) error {
	frames, over, err := s.project(n)
	if err != nil {
		return err
	}
	for _, f := range frames {
		if at := (spot{n.Seq, f.mode, f.nth}); at.after(s.from) {
			s.out = appendFrame(s.out, f, at.String())
		}
	}
	s.over = over
	return nil
}

// ask asks whether the stream is to end without an envelope that says so.
func (s *stream) ask() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), readLimit)
	defer cancel()
	last, over := s.check(ctx)
	if last != nil {
		s.out = appendFrame(s.out, *last, "")
	}
	s.over = s.over || over
}

// heartbeat is how often a stream sends a comment, so that proxies and clients know
// that it lives (agentserver 4). Clients measure it: it is always the same.
const heartbeat = 5 * time.Second

// readLimit bounds one reading of the database for a stream.
const readLimit = 10 * time.Second

// appendFrame writes a frame as a server-sent event. The data is JSON of one line.
func appendFrame(out []byte, f frame, id string) []byte {
	out = append(append(out, "event: "...), f.event...)
	out = append(append(out, "\ndata: "...), f.data...)
	if id != "" {
		out = append(append(out, "\nid: "...), id...)
	}
	return append(out, "\n\n"...)
}

// projectOne projects the envelopes of one run, others it passes over. Those that
// the client has are heard, so that the projector knows what they said.
func projectOne(p *projector, from spot) func(Numbered) ([]frame, bool, error) {
	return func(n Numbered) ([]frame, bool, error) {
		if !isOf(n.Payload, p.run) {
			return nil, false, nil
		}
		p.quiet = n.Seq < from.seq
		if f, ok := p.again.piece(p, n.Payload); ok {
			return f, false, nil
		}
		e, err := event.Parse(n.Payload)
		if err != nil {
			return nil, false, err
		}
		if agents.RunID(e.RunID) != p.run {
			return nil, false, nil
		}
		frames, err := p.frames(e)
		if err != nil {
			return nil, false, err
		}
		p.again.note(p, n.Payload, frames)
		last, over := p.last(e)
		if over {
			frames = append(frames, last)
		}
		if name, _ := e.CustomName(); name == event.RunContinued {
			frames = append([]frame{metadataFrame(agents.Run{ID: p.run, Thread: p.thread, Attempt: e.Attempt})}, frames...)
		}
		return frames, over, nil
	}
}
