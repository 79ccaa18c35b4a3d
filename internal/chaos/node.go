package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// node is one node of the installation: a process that comes and goes at one
// address, behind links of its own.
type node struct {
	name   string
	binary string
	addr   string
	env    []string
	dir    string
	// control is where its fail points are armed.
	control string
	toPG    *proxy
	toRedis *proxy
	client  *http.Client
	log     *os.File

	mu          sync.Mutex
	cmd         *exec.Cmd
	exited      chan struct{}
	incarnation int
	frozen      bool
	// readySince is when the present process first answered; zero before.
	readySince time.Time
	skew       time.Duration
	leaks      []string
}

// nodeStart bounds how long a node may take to its first answer.
const nodeStart = 60 * time.Second

func (n *node) url() string { return "http://" + n.addr }

// worker is what the workers of the present process are called.
func (n *node) worker() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fmt.Sprintf("%s.%d", n.name, n.incarnation)
}

// start starts a process and returns when it is ready.
func (n *node) start(ctx context.Context) error {
	n.mu.Lock()
	n.incarnation++
	cmd := exec.Command(n.binary)
	cmd.Dir = n.dir
	cmd.Env = append(append(os.Environ(), n.env...),
		"CHAOS_NODE="+fmt.Sprintf("%s.%d", n.name, n.incarnation), "CHAOS_SKEW="+n.skew.String(),
		"CHAOS_CONTROL="+n.control, "TMPDIR="+filepath.Join(n.dir, "tmp"))
	cmd.Stdout, cmd.Stderr = n.log, n.log
	cmd.SysProcAttr = childAttr(syscall.SIGKILL)
	exited, started := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread() // the kernel's death signal means this thread
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the state says how it ended
			close(exited)
		}
	}()
	err := <-started
	n.cmd, n.exited, n.readySince = cmd, exited, time.Time{}
	n.mu.Unlock()
	if err != nil {
		return fmt.Errorf("starting %s: %w", n.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, nodeStart)
	defer cancel()
	for ctx.Err() == nil {
		if _, ok := n.ready(ctx); ok {
			n.mu.Lock()
			n.readySince = time.Now()
			n.mu.Unlock()
			return nil
		}
		select {
		case <-exited:
			return errDied
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s was not ready: %w", n.name, ctx.Err())
}

// errDied says that a process ended before it was ready, as one does that dies
// at a point that was armed before.
var errDied = errors.New("the node ended before it was ready")

// ready asks /readyz; degraded says that Redis is not heard.
func (n *node) ready(ctx context.Context) (degraded, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url()+"/readyz", nil)
	if err != nil {
		return false, false
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return false, false
	}
	defer resp.Body.Close()
	var body struct{ Status string }
	if json.NewDecoder(resp.Body).Decode(&body) != nil {
		return false, false
	}
	return body.Status == "degraded", resp.StatusCode == http.StatusOK
}

// up reports whether a process runs, answered once, and is not frozen.
func (n *node) up() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd != nil && !n.readySince.IsZero() && !n.frozen && !gone(n.exited)
}

func gone(exited chan struct{}) bool {
	select {
	case <-exited:
		return true
	default:
		return false
	}
}

// signal sends one and gives what is closed when the process has ended.
func (n *node) signal(s syscall.Signal) chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil || gone(n.exited) {
		return n.exited
	}
	_ = n.cmd.Process.Signal(s) // it may have ended just now
	switch s {
	case syscall.SIGSTOP:
		n.frozen = true
	case syscall.SIGCONT:
		n.frozen = false
	}
	return n.exited
}

// ended notes how a process ended and reports its exit code, -1 for a signal.
func (n *node) ended() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frozen = false
	code := n.cmd.ProcessState.ExitCode()
	if code == 7 {
		n.leaks = append(n.leaks, fmt.Sprintf("%s.%d left something behind: %s", n.name, n.incarnation, n.lastWords()))
	}
	return code
}

// lastWords are what a node that looked for what it left behind has found.
func (n *node) lastWords() string {
	text, err := os.ReadFile(n.log.Name())
	if err != nil {
		return err.Error()
	}
	at := bytes.LastIndex(text, []byte("left behind:"))
	if at < 0 {
		return "its log does not say what"
	}
	return string(text[at:min(len(text), at+4000)])
}

// arm sets a fail point, or none.
func (n *node) arm(ctx context.Context, point, detail string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	u := "http://" + n.control + "/arm?point=" + url.QueryEscape(point) + "&detail=" + url.QueryEscape(detail)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u, nil)
	if err != nil {
		return err
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// vitals are what a node says about itself.
type vitals struct {
	Marker     string         `json:"marker"`
	Reached    map[string]int `json:"reached"`
	Goroutines int            `json:"goroutines"`
	Heap       uint64         `json:"heap"`
}

// look asks a node how it is, after a collection.
func (n *node) look(ctx context.Context) (vitals, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var v vitals
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.control+"/?collect", nil)
	if err != nil {
		return v, err
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	return v, json.NewDecoder(resp.Body).Decode(&v)
}
