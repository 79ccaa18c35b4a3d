package graphtest

import (
	"encoding/json"
	"slices"
	"sync"

	"github.com/heddle/heddle/agents/event"
)

// Kept is how many envelopes a [Sink] keeps; older ones make room.
const Kept = 10_000

// Sink keeps the envelopes it is told, the newest [Kept] of them. Its method Add
// is what [graph.RunnerOptions] takes as Sink. The zero value is ready; it is
// safe for concurrent use.
type Sink struct {
	mu   sync.Mutex
	kept []event.Envelope
	lost int
}

// Add keeps an envelope.
func (s *Sink) Add(e event.Envelope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, e)
	// Only now and then, so that it costs nothing: never more than twice Kept.
	if len(s.kept) == 2*Kept {
		s.kept = slices.Clone(s.kept[Kept:])
		s.lost += Kept
	}
}

// Snapshot gives what is kept, in the order of telling.
func (s *Sink) Snapshot() []event.Envelope {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.kept[max(0, len(s.kept)-Kept):])
}

// Clear forgets everything.
func (s *Sink) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept, s.lost = nil, 0
}

// Lost counts the envelopes that made room since the last Clear.
func (s *Sink) Lost() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost + max(0, len(s.kept)-Kept)
}

// OfType gives the envelopes of some types.
func (s *Sink) OfType(types ...event.Type) []event.Envelope {
	return slices.DeleteFunc(s.Snapshot(), func(e event.Envelope) bool { return !slices.Contains(types, e.Type) })
}

// Types gives the type of each envelope, of a CUSTOM one its name: the shape of
// what happened.
func (s *Sink) Types() []string {
	var out []string
	for _, e := range s.Snapshot() {
		out = append(out, e.Key())
	}
	return out
}

// Ran gives the nodes that were executed, each as often as it was, retries too.
func (s *Sink) Ran() []string {
	var out []string
	for _, e := range s.OfType(event.StepStarted) {
		out = append(out, e.Node)
	}
	return out
}

// Custom gives the values of the CUSTOM envelopes of a name, such as
// [event.GraphCustom].
func (s *Sink) Custom(name event.Name) []json.RawMessage {
	var out []json.RawMessage
	for _, e := range s.OfType(event.Custom) {
		if n, value := e.CustomName(); n == name {
			out = append(out, value)
		}
	}
	return out
}

// Texts gives the text of each message that was told and not taken back, in the
// order in which they began.
func (s *Sink) Texts() []string {
	var order []string
	texts := map[string]string{}
	for _, e := range s.Snapshot() {
		switch e.Type {
		case event.TextMessageStart:
			var d event.TextStartData
			if e.Decode(&d) == nil {
				order = append(order, d.MessageID)
				texts[d.MessageID] = ""
			}
		case event.TextMessageContent:
			var d event.TextContentData
			if e.Decode(&d) == nil {
				texts[d.MessageID] += d.Delta
			}
		case event.Custom:
			name, value := e.CustomName()
			var d event.DiscardedValue
			if name == event.MessagesDiscarded && json.Unmarshal(value, &d) == nil {
				order = slices.DeleteFunc(order, func(id string) bool { return slices.Contains(d.Discarded, id) })
			}
		default:
		}
	}
	out := make([]string, len(order))
	for i, id := range order {
		out[i] = texts[id]
	}
	return out
}
