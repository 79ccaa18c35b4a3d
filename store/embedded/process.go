package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// program is a child process to start.
type program struct {
	path  string
	args  []string
	dir   string // working directory
	as    account
	out   io.Writer
	death syscall.Signal // sent to it when this process is gone
	guard bool           // let a guard process send it, not the kernel
}

// process is a running child. Its goroutine owns the operating-system thread
// that started it: the kernel's death signal means that thread, not the process.
type process struct {
	pid    int
	handle *os.Process
	exited chan struct{}
	err    error // how it ended; read it after exited is closed
}

// start returns once the child runs or could not be started.
func start(p program) (*process, error) {
	attr, err := p.as.sysProcAttr(p.death)
	if err != nil {
		return nil, err
	}
	if p.guard {
		if attr, err = p.as.sysProcAttr(0); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = p.dir, cleanEnv(), attr
	cmd.Stdout, cmd.Stderr = p.out, p.out
	// Grandchildren that outlive it may hold the pipe of its output.
	cmd.WaitDelay = 2 * time.Second
	proc := &process{exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		var watch *guard
		if p.guard {
			g, err := startGuard(cmd.Process.Pid, p.death)
			if err != nil {
				started <- errors.Join(err, cmd.Process.Kill(), cmd.Wait())
				return
			}
			watch = g
		}
		proc.pid, proc.handle = cmd.Process.Pid, cmd.Process
		started <- nil
		proc.err = cmd.Wait()
		if watch != nil {
			watch.end()
		}
		close(proc.exited)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.path, err)
	}
	return proc, nil
}

// signal does nothing to a process that has ended.
func (p *process) signal(sig syscall.Signal) error {
	if err := p.handle.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %v to pid %d: %w", sig, p.pid, err)
	}
	return nil
}

// status says how the process ended, after exited is closed.
func (p *process) status() string {
	if p.err == nil {
		return "exit status 0"
	}
	return p.err.Error()
}

// killGroup ends the process and its children without asking.
func (p *process) killGroup() error {
	if err := syscall.Kill(-p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing the group of pid %d: %w", p.pid, err)
	}
	return nil
}

// cleanEnv is our environment without what would steer PostgreSQL's programs:
// its own variables and the locale. macOS refuses to start a server without LC_ALL.
func cleanEnv() []string {
	env := []string{"LC_ALL=C", "TZ=UTC"}
	for _, line := range os.Environ() {
		name, _, _ := strings.Cut(line, "=")
		if name == "PATH" || name == "TMPDIR" || strings.HasPrefix(name, "LD_") || strings.HasPrefix(name, "DYLD_") {
			env = append(env, line)
		}
	}
	return env
}
