package socket_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/realtime/socket"
)

// link is a wire between a client and a node that can be cut.
type link struct {
	l net.Listener

	mu    sync.Mutex
	to    string
	conns []net.Conn
	wg    sync.WaitGroup
}

func newLink(t *testing.T, to string) *link {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	k := &link{l: l, to: to}
	k.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			k.mu.Lock()
			to := k.to
			k.mu.Unlock()
			s, err := net.Dial("tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			k.mu.Lock()
			k.conns = append(k.conns, c, s)
			k.mu.Unlock()
			for _, way := range [][2]net.Conn{{c, s}, {s, c}} {
				k.wg.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_, _ = way[0].Close(), way[1].Close()
				})
			}
		}
	})
	t.Cleanup(func() { _ = l.Close(); k.cut(); k.wg.Wait() })
	return k
}

func (k *link) leadTo(addr string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.to = addr
}

func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.conns {
		_ = c.Close()
	}
	k.conns = nil
}

// report is one line of the client.
type report struct {
	What    string         `json:"what"`
	Why     string         `json:"why"`
	Seq     int64          `json:"seq"`
	Seqs    []int64        `json:"seqs"`
	Opened  int            `json:"opened"`
	Code    int            `json:"code"`
	Left    bool           `json:"left"`
	Ping    bool           `json:"ping"`
	Refused map[string]any `json:"refused"`
	Echo    map[string]any `json:"echo"`
	Wrong   map[string]any `json:"wrong"`
}

// phoenixClient runs the real client and hands its reports to each.
func phoenixClient(t *testing.T, url, topic, last string, each func(report)) report {
	t.Helper()
	if _, err := os.Stat(filepath.Join("contract", "node_modules", "phoenix")); err != nil {
		install := exec.Command("npm", "ci")
		install.Dir = "contract"
		out, err := install.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	cmd := exec.Command("node", "client.mjs", url, "key-of-mia", topic, last)
	cmd.Dir = "contract"
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var r report
		require.NoError(t, json.Unmarshal(lines.Bytes(), &r), lines.Text())
		require.NotEqual(t, "failed", r.What, r.Why)
		if r.What == "done" {
			return r
		}
		each(r)
	}
	t.Fatal("the client ended early")
	return report{}
}

func TestAPhoenixClientThatIsCutOffHasEveryNumberOnce(t *testing.T) {
	w := newWorlds(t, 1)[0]
	const topic = "org:1:room:a"
	w.log.append(topic, 20)
	k := newLink(t, w.addr)
	done := phoenixClient(t, "ws://"+k.l.Addr().String()+"/socket", "room:a", "120", func(r report) {
		switch {
		case r.What == "seq" && (r.Seq == 20 || r.Seq == 60):
			w.publish(topic, 10)
			k.cut() // while some of it is on its way
			w.publish(topic, 30)
		case r.What == "seq" && r.Seq == 100:
			w.publish(topic, 20)
		}
	})
	require.Equal(t, upTo(1, 120), done.Seqs)
	require.Equal(t, 3, done.Opened)
	require.True(t, done.Left)
	require.True(t, done.Ping)
	require.Equal(t, map[string]any{"reason": "not found", "code": "not_found"}, done.Refused)
	require.Equal(t, "ok", done.Echo["status"])
	require.Equal(t, map[string]any{"text": "grüße"}, done.Echo["response"].(map[string]any)["payload"])
	require.Equal(t, "error", done.Wrong["status"])
}

func TestAPhoenixClientMovesToAnotherNodeWhenItsNodeDrains(t *testing.T) {
	ws := newWorlds(t, 2)
	const topic = "org:1:room:a"
	ws[0].log.append(topic, 20)
	k := newLink(t, ws[0].addr)
	var drained sync.WaitGroup
	defer drained.Wait()
	codes := []int{}
	done := phoenixClient(t, "ws://"+k.l.Addr().String()+"/socket", "room:a", "60", func(r report) {
		switch {
		case r.What == "close":
			codes = append(codes, r.Code)
		case r.What == "seq" && r.Seq == 20:
			k.leadTo(ws[1].addr)
			drained.Go(func() { _ = ws[0].server.Drain(t.Context()) })
			ws[1].publish(topic, 40)
		}
	})
	require.Equal(t, upTo(1, 60), done.Seqs)
	require.Equal(t, []int{socket.CloseRestart}, codes)
}

func TestAPhoenixClientThatLagsRejoinsByItself(t *testing.T) {
	w := newWorlds(t, 1, func(o *socket.Options) { o.QueueFrames = 8 })[0]
	const topic = "org:1:room:a"
	w.log.append(topic, 1)
	lags := 0
	done := phoenixClient(t, "ws://"+w.addr+"/socket", "room:a", "501", func(r report) {
		switch {
		case r.What == "lag":
			lags++
		case r.What == "seq" && r.Seq == 1:
			w.publish(topic, 500) // far more than may wait
		}
	})
	require.Equal(t, upTo(1, 501), done.Seqs)
	require.Positive(t, lags)
}
