//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// The subcommands under which the driver starts itself.
const (
	childServe = "serve"
	childHub   = "hub"
)

// stopLimit is how long a child may take to end by itself.
const stopLimit = 15 * time.Second

// child is a process that ends with the driver, whatever ends that.
type child struct {
	cmd    *exec.Cmd
	out    io.ReadCloser
	log    *tail
	exited chan struct{}
}

// spawn starts a program. The goroutine that starts it keeps its thread: the
// kernel's death signal means that thread, not the process.
func spawn(program string, arguments ...string) (*child, error) {
	c := &child{cmd: exec.Command(program, arguments...), log: &tail{}, exited: make(chan struct{})}
	c.cmd.Stderr = c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	c.out, c.cmd.Stdout = read, write
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait() // how a stopped child ended says nothing
			close(c.exited)
		}
	}()
	err = <-started
	if closeErr := write.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	return c, nil
}

// spawnSelf starts a subcommand of this program and reads the one JSON line by
// which it says that it is ready.
func spawnSelf(ready any, arguments ...string) (*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	c, err := spawn(program, arguments...)
	if err != nil {
		return nil, err
	}
	line := make(chan []byte, 1)
	go func() {
		text, _ := bufio.NewReader(c.out).ReadBytes('\n') // a child that says nothing has ended
		line <- text
	}()
	select {
	case text := <-line:
		err = json.Unmarshal(text, ready)
	case <-time.After(startLimit):
		err = errors.New("it took too long")
	}
	if err != nil {
		stopped := c.stop()
		return nil, errors.Join(fmt.Errorf("starting %s: %w: %s", arguments[0], err, c.said()), stopped)
	}
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) alive() bool {
	select {
	case <-c.exited:
		return false
	default:
		return true
	}
}

// said is the end of what the child wrote to its standard error.
func (c *child) said() string { return c.log.String() }

// stop asks the child to end and kills it if it does not.
func (c *child) stop() error {
	defer c.out.Close()
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-c.exited:
		return nil
	case <-time.After(stopLimit):
	}
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing %s: %w", c.cmd.Path, err)
	}
	<-c.exited
	return nil
}

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex
	text bytes.Buffer
}

const tailBytes = 8 << 10

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if over := t.text.Len() + len(p) - tailBytes; over > 0 {
		t.text.Next(over)
	}
	return t.text.Write(p)
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}
