package socket

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/realtime"
)

// Format is how a client wants a topic.
type Format string

// The formats a join may ask for.
const (
	// FormatEnvelope sends every message of the log, and notices.
	FormatEnvelope Format = "envelope"
	// FormatHTML sends patches of a page, and notices.
	FormatHTML Format = "html"
)

// Channel is what stands behind the wire topics of one pattern. Calls for one
// joined topic come one at a time; different topics and sockets run at the
// same time. A panic refuses the command and is logged.
type Channel interface {
	// Join decides whether id may watch topic and where its messages come
	// from. An absent topic and a foreign one return the same fault.NotFound.
	Join(ctx context.Context, id Identity, topic string, payload json.RawMessage) (Joined, error)
	// Handle answers a push of the client. The reply is sent as JSON; nil is {}.
	Handle(ctx context.Context, m Member, event string, payload json.RawMessage) (any, error)
	// Leave is told when a joined topic ends, for whatever reason.
	Leave(ctx context.Context, m Member)
}

// Joined is the outcome of a join. [ParseJoin] fills Format and Start.
type Joined struct {
	// HubTopic is the topic of the hub, which carries the organisation.
	HubTopic string
	Format   Format
	// Start is where the client stands.
	Start realtime.Start
	// Reply is merged into the join's reply beside seq, epoch and reset; it
	// must encode as an object. Nil is fine.
	Reply any
	// Projector makes the projection of FormatHTML when this node has none
	// under ProjectionName, which names all that its output depends on beside
	// the topic, such as the locale.
	Projector      func() realtime.Projector
	ProjectionName string
	// State is kept for the channel and comes back in Member.State.
	State any
}

// Member is one socket's place on one wire topic.
type Member struct {
	Identity Identity
	Topic    string
	HubTopic string
	State    any
	m        *member
}

// Push sends one frame to this socket alone.
func (m Member) Push(event string, payload any) error {
	data, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("encoding a push on %s: %w", m.Topic, err)
	}
	m.m.conn.out.push(m.m, &realtime.Delivery{Message: realtime.Message{Event: event, Payload: data}})
	return nil
}

// ParseJoin reads the payload every join has:
// {"after": number, "epoch": string, "format": "envelope" | "html"}. All are
// optional; the format defaults to envelope. Unknown fields are left alone.
func ParseJoin(payload json.RawMessage) (Joined, error) {
	var raw struct {
		After  json.RawMessage `json:"after"`
		Epoch  json.RawMessage `json:"epoch"`
		Format json.RawMessage `json:"format"`
	}
	if err := json.Unmarshal(payload, &raw); err != nil {
		return Joined{}, fault.Invalid("payload", "must be an object")
	}
	j := Joined{Format: FormatEnvelope}
	wrong := map[string]string{}
	if given(raw.After) {
		if err := json.Unmarshal(raw.After, &j.Start.After); err != nil || j.Start.After < 0 {
			wrong["after"] = "must be a whole number from 0 on"
		}
		j.Start.HasAfter = true
	}
	if given(raw.Epoch) && json.Unmarshal(raw.Epoch, &j.Start.Epoch) != nil {
		wrong["epoch"] = "must be a string"
	}
	if given(raw.Format) {
		if json.Unmarshal(raw.Format, &j.Format) != nil || (j.Format != FormatEnvelope && j.Format != FormatHTML) {
			wrong["format"] = `must be "envelope" or "html"`
		}
	}
	if len(wrong) > 0 {
		return Joined{}, fault.InvalidFields(wrong)
	}
	return j, nil
}

func given(raw json.RawMessage) bool { return len(raw) > 0 && !bytes.Equal(raw, null) }

// Router maps wire topics to channels. Fill it before the server starts.
type Router struct {
	exact    map[string]Channel
	prefixes map[string]Channel
}

// NewRouter returns a router that knows no topic.
func NewRouter() *Router {
	return &Router{exact: map[string]Channel{}, prefixes: map[string]Channel{}}
}

// Handle registers the channel of a pattern: a whole topic such as "user", or a
// kind of topic such as "thread:*".
func (r *Router) Handle(pattern string, c Channel) {
	if kind, ok := strings.CutSuffix(pattern, ":*"); ok {
		r.prefixes[kind] = c
		return
	}
	r.exact[pattern] = c
}

// find returns the channel of a wire topic, nil if there is none.
func (r *Router) find(topic string) Channel {
	if c, ok := r.exact[topic]; ok {
		return c
	}
	kind, rest, ok := strings.Cut(topic, ":")
	if !ok || rest == "" {
		return nil
	}
	return r.prefixes[kind]
}

// ErrorReply is the default response of a refused command: reason, code and
// fields. Absent and foreign things give one and the same response.
func ErrorReply(err error) any {
	if fault.Is(err, fault.KindNotFound) {
		return refusal{Reason: "not found", Code: string(fault.KindNotFound)}
	}
	return refusal{Reason: fault.Public(err), Code: fault.Code(err), Fields: fault.FieldsOf(err)}
}

type refusal struct {
	Reason string            `json:"reason"`
	Code   string            `json:"code"`
	Fields map[string]string `json:"fields,omitempty"`
}
