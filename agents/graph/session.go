package graph

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"github.com/heddle/heddle/agents"
)

// ErrSessionClosed says that an iterative session takes no input any more.
var ErrSessionClosed = errors.New("the session is finished")

// sessionBuffer bounds the frames that wait for a session's reader.
const sessionBuffer = 1024

// Session is an iterative session: one thread that is fed many machine inputs
// under one lineage. Inputs run one after the other, each in a run of its own;
// the same input twice runs twice, and the step counter never goes back, also
// not when a new process opens the session again. Its stream stays open until
// the session is finished.
type Session struct {
	r       *Runner
	thread  agents.ThreadID
	modes   []Mode
	options []RunOption

	inputs chan fed
	out    chan SessionFrame
	cancel context.CancelCauseFunc
	once   sync.Once
	stop   chan struct{}
	done   chan struct{}
	reason string
	lost   int
}

type fed struct {
	in    Input
	reply chan error
}

// SessionFrame is one piece of a session's stream.
type SessionFrame struct {
	Frame
	// Ended says that one input was worked off: Err tells how, nil or
	// [*Interrupted] for a run that pauses.
	Ended bool
	Err   error
	// Closed is set on the last frame only: the reason given to Finish.
	Closed string
	// Lost counts the frames before this one that the reader was too slow for;
	// the thread's state has what they told.
	Lost int
}

// Open begins or goes on with an iterative session on a thread. Frames come from
// the first input on, so none is missed. The options hold for each input's run.
func (r *Runner) Open(ctx context.Context, thread agents.ThreadID, modes []Mode, options ...RunOption) *Session {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &Session{r: r, thread: thread, modes: modes, options: options, inputs: make(chan fed), out: make(chan SessionFrame, sessionBuffer),
		cancel: cancel, stop: make(chan struct{}), done: make(chan struct{})}
	go s.work(ctx)
	return s
}

// Feed runs one input and waits for its end: nil, [*Interrupted] for a pause, or
// the run's error. What was wrong with the input itself changed nothing. An entry
// must be [Start] or a node; [End] is refused.
func (s *Session) Feed(ctx context.Context, in Input) error {
	f := fed{in: in, reply: make(chan error, 1)}
	select {
	case s.inputs <- f:
	case <-s.stop:
		return ErrSessionClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-f.reply:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Frames is the session's stream. It is closed after the last frame.
func (s *Session) Frames() <-chan SessionFrame { return s.out }

// Finish ends the session after the input under way, and waits for that. reason
// stands in the last frame, "finished" if it is empty.
func (s *Session) Finish(reason string) {
	s.once.Do(func() {
		s.reason = cmp.Or(reason, "finished")
		close(s.stop)
	})
	<-s.done
}

// work runs inputs one after the other until the session is finished or its
// context ends.
func (s *Session) work(ctx context.Context) {
	defer close(s.done)
	defer close(s.out)
	defer s.cancel(nil)
	for {
		select {
		case f := <-s.inputs:
			err := s.r.run(ctx, s.thread, f.in, s.options, s.modes, func(frame Frame) { s.send(SessionFrame{Frame: frame}) })
			s.last(SessionFrame{Ended: true, Err: err})
			f.reply <- err
		case <-s.stop:
			s.last(SessionFrame{Closed: s.reason})
			return
		case <-ctx.Done():
			s.once.Do(func() { close(s.stop) })
			s.last(SessionFrame{Closed: context.Cause(ctx).Error()})
			return
		}
	}
}

// send never waits for the reader: a frame that finds no room is counted.
func (s *Session) send(f SessionFrame) {
	f.Lost = s.lost
	select {
	case s.out <- f:
		s.lost = 0
	default:
		s.lost++
	}
}

// last sends a frame that must arrive, in the place of one that waits if there
// is no room.
func (s *Session) last(f SessionFrame) {
	for {
		f.Lost = s.lost
		select {
		case s.out <- f:
			s.lost = 0
			return
		default:
		}
		select {
		case old := <-s.out:
			s.lost += 1 + old.Lost
		default:
		}
	}
}
