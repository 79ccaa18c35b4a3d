package testweb

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/heddle/heddle/agents/event"
)

// Socket is a client of Phoenix Channels, serializer 2.0.0. It reads when asked
// and belongs to one goroutine.
type Socket struct {
	tb   testing.TB
	ws   *websocket.Conn
	ref  int
	kept []Frame
}

// Frame is one message of the server.
type Frame struct {
	JoinRef, Ref *string
	Topic, Event string
	Payload      json.RawMessage
}

// Reply is the answer to a join or push.
type Reply struct {
	Status   string          `json:"status"`
	Response json.RawMessage `json:"response"`
}

// Reason gives the words of a refusal.
func (r Reply) Reason() string {
	var response struct {
		Reason string `json:"reason"`
	}
	_ = json.Unmarshal(r.Response, &response) // an answer without one has no reason
	return response.Reason
}

// Dial opens a socket as a signed-in browser does: with its cookie and origin.
func (s *Site) Dial(c *http.Client) *Socket {
	s.tb.Helper()
	base, err := url.Parse(s.base)
	if err != nil {
		s.tb.Fatalf("testweb: %v", err)
	}
	header := http.Header{"Origin": {s.base}}
	for _, cookie := range c.Jar.Cookies(base) {
		header.Add("Cookie", cookie.Name+"="+cookie.Value)
	}
	return s.dial(header)
}

// DialKey opens a socket as a program does: with an API key.
func (s *Site) DialKey(key string) *Socket {
	s.tb.Helper()
	token := base64.RawURLEncoding.EncodeToString([]byte(key))
	return s.dial(nil, "phoenix", "base64url.bearer.phx."+token)
}

func (s *Site) dial(header http.Header, protocols ...string) *Socket {
	s.tb.Helper()
	dialer := websocket.Dialer{HandshakeTimeout: limit, Subprotocols: protocols}
	ws, resp, err := dialer.Dial("ws"+strings.TrimPrefix(s.base, "http")+"/socket/websocket?vsn=2.0.0", header)
	if err != nil {
		status := 0
		if resp != nil {
			status = resp.StatusCode
		}
		s.tb.Fatalf("testweb: opening a socket (status %d): %v", status, err)
	}
	k := &Socket{tb: s.tb, ws: ws}
	s.tb.Cleanup(k.Close)
	return k
}

// Close cuts the connection without a word, as a lost network does.
func (k *Socket) Close() { _ = k.ws.Close() }

// Raw sends text as it is.
func (k *Socket) Raw(text string) {
	k.tb.Helper()
	if err := k.ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		k.tb.Fatalf("testweb: writing to a socket: %v", err)
	}
}

// Join joins a topic and gives the reference that pushes to it need.
func (k *Socket) Join(topic string, payload any) (joinRef string) {
	k.tb.Helper()
	joinRef, reply := k.TryJoin(topic, payload)
	if reply.Status != "ok" {
		k.tb.Fatalf("testweb: joining %s: %s", topic, reply.Response)
	}
	return joinRef
}

// TryJoin is Join that may be refused.
func (k *Socket) TryJoin(topic string, payload any) (joinRef string, r Reply) {
	k.tb.Helper()
	ref := k.send("", topic, "phx_join", payload)
	return ref, k.reply(ref)
}

// Push sends an event to a joined topic and waits for the answer.
func (k *Socket) Push(joinRef, topic, event string, payload any) Reply {
	k.tb.Helper()
	return k.reply(k.send(joinRef, topic, event, payload))
}

func (k *Socket) send(joinRef, topic, event string, payload any) string {
	k.tb.Helper()
	k.ref++
	ref := fmt.Sprint(k.ref)
	if joinRef == "" {
		joinRef = ref
	}
	text, err := json.Marshal([]any{joinRef, ref, topic, event, payload})
	if err != nil {
		k.tb.Fatalf("testweb: %v", err)
	}
	k.Raw(string(text))
	return ref
}

// reply waits for the answer to ref and keeps what comes before.
func (k *Socket) reply(ref string) Reply {
	k.tb.Helper()
	var before []Frame
	for {
		f := k.Next()
		if f.Event != "phx_reply" || f.Ref == nil || *f.Ref != ref {
			before = append(before, f)
			continue
		}
		k.kept = append(before, k.kept...)
		var r Reply
		if err := json.Unmarshal(f.Payload, &r); err != nil {
			k.tb.Fatalf("testweb: reading a reply: %v", err)
		}
		return r
	}
}

// Next gives the next frame.
func (k *Socket) Next() Frame {
	k.tb.Helper()
	f, err := k.read()
	if err != nil {
		k.tb.Fatalf("testweb: reading a socket: %v", err)
	}
	return f
}

// Within gives the next frame if it comes in time. A socket that was silent for
// so long can't be read any more.
func (k *Socket) Within(d time.Duration) (Frame, bool) {
	k.tb.Helper()
	f, err := k.readUntil(time.Now().Add(d))
	return f, err == nil
}

func (k *Socket) read() (Frame, error) { return k.readUntil(time.Now().Add(limit)) }

func (k *Socket) readUntil(deadline time.Time) (Frame, error) {
	if len(k.kept) > 0 {
		f := k.kept[0]
		k.kept = k.kept[1:]
		return f, nil
	}
	if err := k.ws.SetReadDeadline(deadline); err != nil {
		return Frame{}, err
	}
	_, data, err := k.ws.ReadMessage()
	if err != nil {
		return Frame{}, err
	}
	var f Frame
	parts := []any{&f.JoinRef, &f.Ref, &f.Topic, &f.Event, &f.Payload}
	if err := json.Unmarshal(data, &parts); err != nil {
		return Frame{}, fmt.Errorf("frame %s: %w", data, err)
	}
	return f, nil
}

// Closed reads until the server closes the socket and gives its code.
func (k *Socket) Closed() (code int, reason string) {
	k.tb.Helper()
	for {
		_, err := k.read()
		if err == nil {
			continue
		}
		var closed *websocket.CloseError
		if !errors.As(err, &closed) {
			k.tb.Fatalf("testweb: waiting for a socket's close: %v", err)
		}
		return closed.Code, closed.Text
	}
}

// Envelopes reads the envelopes of a topic until enough says so; others of the
// topic, such as notices, are passed over, other topics kept.
func (k *Socket) Envelopes(topic string, enough func(event.Envelope) bool) []event.Envelope {
	k.tb.Helper()
	var out []event.Envelope
	var others []Frame
	for {
		f := k.Next()
		if f.Topic != topic {
			others = append(others, f)
			continue
		}
		if f.Event != "envelope" {
			continue
		}
		e, err := event.Parse(f.Payload)
		if err != nil {
			k.tb.Fatalf("testweb: %v", err)
		}
		out = append(out, e)
		if enough(e) {
			k.kept = append(others, k.kept...)
			return out
		}
	}
}

// RunEnds is true for the envelopes that end a run.
func RunEnds(e event.Envelope) bool { return e.Type == event.RunFinished || e.Type == event.RunError }

// Text joins the deltas of all messages among envelopes, without those that a
// later envelope took back.
func Text(envelopes []event.Envelope) string {
	var order []string
	text := map[string]string{}
	for _, e := range envelopes {
		switch e.Type {
		case event.TextMessageContent:
			var d event.TextContentData
			if e.Decode(&d) != nil {
				continue
			}
			if _, known := text[d.MessageID]; !known {
				order = append(order, d.MessageID)
			}
			text[d.MessageID] += d.Delta
		case event.TextMessageEnd:
			var d event.TextEndData
			if e.Decode(&d) == nil && d.Broken {
				text[d.MessageID] = ""
			}
		default:
		}
	}
	var out strings.Builder
	for _, id := range order {
		out.WriteString(text[id])
	}
	return out.String()
}
