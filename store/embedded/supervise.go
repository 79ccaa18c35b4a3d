package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// supervise owns the server process until it ends for good. One unexpected end
// is mended; a second one is for whoever runs us to know about.
func (s *Server) supervise(p *process, fresh bool) {
	var flush sync.WaitGroup
	if fresh && !s.opts.Volatile {
		flush.Go(func() {
			if err := s.cluster.sync(s.stopping); err != nil {
				s.log.Warn("could not flush the new cluster to the disk", "err", err)
			}
		})
	}
	s.err = s.watch(p)
	if s.err != nil {
		// Ends the flush as Stop would.
		s.stopOnce.Do(func() { close(s.stopping) })
	}
	flush.Wait()
	if c := s.cluster; filepath.Dir(c.sock) != c.data {
		// A stale socket keeps it in place, for the next start to clear.
		_ = os.Remove(c.sock)
	}
	s.err = errors.Join(s.err, s.release())
	close(s.done)
}

func (s *Server) watch(p *process) error {
	for restarted := false; ; restarted = true {
		select {
		case <-s.stopping:
			return end(p, s.hurry)
		case <-p.exited:
		}
		if restarted {
			return fmt.Errorf("postgres ended unexpectedly for the second time: %s", p.status())
		}
		s.log.Error("postgres ended unexpectedly and is started again", "err", p.status())
		next, err := s.restart()
		if err != nil || next == nil {
			return err
		}
		p = next
	}
}

// restart launches the server again after a pause. It returns nothing if Stop
// comes first.
func (s *Server) restart() (*process, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	var stop sync.WaitGroup
	defer stop.Wait()
	defer cancel()
	stop.Go(func() {
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	})
	select {
	case <-s.stopping:
		return nil, nil
	case <-time.After(restartAfter):
	}
	p, err := s.launch(ctx)
	if err == nil {
		return p, nil
	}
	select {
	case <-s.stopping:
		return nil, nil
	default:
		return nil, fmt.Errorf("restarting postgres: %w", err)
	}
}

// end stops the process: fast shutdown, an immediate one when hurry is closed,
// and a kill when not even that helps.
func end(p *process, hurry <-chan struct{}) error {
	if err := p.signal(syscall.SIGINT); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return endedBy(p)
	case <-hurry:
	}
	if err := p.signal(syscall.SIGQUIT); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return nil // its exit status tells of the abort we asked for
	case <-time.After(quitLimit):
	}
	err := p.killGroup()
	<-p.exited
	return err
}

func endedBy(p *process) error {
	if p.err != nil {
		return fmt.Errorf("stopping postgres: %w", p.err)
	}
	return nil
}
