package gallery

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/websocket"
)

// socketServer speaks the server's half of the Phoenix protocol as far as the
// page's client uses it: joins are recorded and accepted, heartbeats answered,
// and a test pushes frames. Frames are sent one at a time by their caller.
type socketServer struct {
	joins chan join
	mu    sync.Mutex
	conns map[*websocket.Conn]bool
	down  bool
}

// join is one accepted join, with where to push to.
type join struct {
	conn    *websocket.Conn
	ref     string
	topic   string
	payload map[string]any
	wmu     *sync.Mutex
}

func newSocketServer() *socketServer {
	return &socketServer{joins: make(chan join, 64), conns: map[*websocket.Conn]bool{}}
}

func (s *socketServer) handler() http.Handler {
	accept := websocket.Server{Handler: s.serve}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		down := s.down
		s.mu.Unlock()
		if down {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		accept.ServeHTTP(w, r)
	})
}

func (s *socketServer) serve(conn *websocket.Conn) {
	s.mu.Lock()
	s.conns[conn] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	wmu := &sync.Mutex{}
	for {
		var frame [5]json.RawMessage
		if err := websocket.JSON.Receive(conn, &frame); err != nil {
			return
		}
		var ref, topic, event string
		_ = json.Unmarshal(frame[1], &ref)
		_ = json.Unmarshal(frame[2], &topic)
		_ = json.Unmarshal(frame[3], &event)
		wmu.Lock()
		err := websocket.JSON.Send(conn, []any{frame[0], frame[1], frame[2], "phx_reply", map[string]any{"status": "ok", "response": map[string]any{}}})
		wmu.Unlock()
		if err != nil {
			return
		}
		if event == "phx_join" {
			j := join{conn: conn, topic: topic, ref: ref, wmu: wmu}
			_ = json.Unmarshal(frame[4], &j.payload)
			s.joins <- j
		}
	}
}

// closeAll cuts every connection; stayDown refuses new ones until up.
func (s *socketServer) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		_ = conn.Close()
	}
}

func (s *socketServer) setDown(down bool) {
	s.mu.Lock()
	s.down = down
	s.mu.Unlock()
}

// await gives the next join of a topic.
func (s *socketServer) await(t *testing.T, topic string) join {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case j := <-s.joins:
			if j.topic == topic {
				return j
			}
		case <-timeout:
			require.Fail(t, "nobody joined "+topic)
		}
	}
}

// region is one patch, as the server sends it.
type region struct {
	ID     string `json:"id"`
	HTML   string `json:"html,omitempty"`
	Into   string `json:"into,omitempty"`
	Remove bool   `json:"remove,omitempty"`
}

func (j join) push(t *testing.T, event string, payload any) {
	t.Helper()
	j.wmu.Lock()
	defer j.wmu.Unlock()
	require.NoError(t, websocket.JSON.Send(j.conn, []any{j.ref, nil, j.topic, event, payload}))
}

func (j join) view(t *testing.T, seq int, regions ...region) {
	t.Helper()
	j.push(t, "view", map[string]any{"seq": seq, "epoch": "e1", "regions": regions})
}
