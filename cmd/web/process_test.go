package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testweb"
)

// asCommand makes the test binary be the product's binary.
const asCommand = "TEST_AS_HEDDLE"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		os.Exit(0)
	}
	testweb.Main(m)
}

// patience bounds every wait for a process.
const patience = time.Minute

// process is a heddle command that runs beside the test.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  bytes.Buffer // standard output; read it after the end
	err  stream
	done chan struct{}
}

// stream gathers what a process says and can be read meanwhile.
type stream struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// start runs the binary with nothing of Heddle's in its environment but env.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], args...), done: make(chan struct{})}
	p.cmd.Dir = t.TempDir() // where no .env is
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "HEDDLE_") && !strings.HasPrefix(v, "DATABASE_URL") && !strings.HasPrefix(v, "REDIS_URL") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(append(p.cmd.Env, asCommand+"=1"), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	// A terminal's Ctrl-C at the tests must not reach it: they stop it themselves.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the state says how it ended
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(patience):
			_ = p.cmd.Process.Kill()
			<-p.done
		}
		if t.Failed() {
			t.Logf("heddle %s said:\n%s%s", strings.Join(args, " "), p.out.String(), p.err.String())
		}
	})
	return p
}

func (p *process) signal(s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("signalling: %v", err)
	}
}

// code waits for the end and gives the exit code.
func (p *process) code() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		require.FailNow(p.t, "the process does not end", p.err.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	<-p.done
}

// installation is a data directory and an address to serve on.
type installation struct {
	env []string
	url string
}

func install(t *testing.T, more ...string) installation {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	return installation{url: "http://" + addr, env: append([]string{
		"HEDDLE_ADDR=" + addr, "HEDDLE_BASE_URL=http://" + addr, "HEDDLE_DATA_DIR=" + filepath.Join(t.TempDir(), "data"),
	}, more...)}
}

// serve starts a server and waits until it is ready.
func (i installation) serve(t *testing.T, more ...string) (*process, *testweb.Site) {
	t.Helper()
	p := start(t, append(append([]string{}, i.env...), more...), "serve")
	site := testweb.At(t, i.url)
	site.WaitReady()
	return p, site
}

// run runs a command to its end.
func (i installation) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := start(t, i.env, args...)
	code = p.code()
	return code, p.out.String(), p.err.String()
}
