package prebuilt

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
)

// Development returns the graphs that exist for people who try or test the
// server, and are registered in development only:
//
//   - echo answers "echo: …" at once;
//   - slow streams one message of 20 tokens, 100 ms apart, with a custom event
//     {"tick":0}, and stops at once when cancelled;
//   - stream50 streams 50 tokens without pauses;
//   - failing returns the error "boom" from its node;
//   - approval asks for a tool, pauses with action_requests and review_configs,
//     takes any answer, and ends with a tool message and an answer.
func Development() ([]*graph.Graph, error) {
	var out []*graph.Graph
	for name, node := range map[string]graph.Node{"echo": echo, "slow": slow, "stream50": stream50, "failing": failing} {
		g, err := graph.New(name).Node(name, node).Edge(graph.Start, name).Edge(name, graph.End).Compile()
		if err != nil {
			return nil, fmt.Errorf("compiling a development graph: %w", err)
		}
		out = append(out, g)
	}
	g, err := approval()
	if err != nil {
		return nil, fmt.Errorf("compiling a development graph: %w", err)
	}
	return append(out, g), nil
}

func echo(_ context.Context, t *graph.Task) (graph.Command, error) {
	text := strings.TrimSuffix("echo: "+lastSaid(t.State), " ")
	w := newWriter(t)
	w.write(text)
	return graph.Command{Update: []graph.Write{graph.AddMessage(w.end())}}, nil
}

const (
	slowTokens = 20
	slowPause  = 100 * time.Millisecond
)

// slowPauseParam is the assistant parameter that changes the pause, in
// milliseconds.
const slowPauseParam = "pause_ms"

func slow(ctx context.Context, t *graph.Task) (graph.Command, error) {
	pause := slowPause
	if raw, ok := t.Assistant.Config.Params[slowPauseParam]; ok {
		var ms int
		if err := json.Unmarshal(raw, &ms); err != nil {
			return graph.Command{}, graph.Fail("The parameter pause_ms must be a number of milliseconds.")
		}
		pause = time.Duration(ms) * time.Millisecond
	}
	t.EmitCustom(event.GraphCustom, map[string]int{"tick": 0})
	w := newWriter(t)
	for i := range slowTokens {
		if i > 0 {
			select {
			case <-t.Clock.After(pause):
			case <-ctx.Done():
				return graph.Command{}, context.Cause(ctx)
			}
		}
		w.write(fmt.Sprintf("token%d ", i))
	}
	return graph.Command{Update: []graph.Write{graph.AddMessage(w.end())}}, nil
}

func stream50(_ context.Context, t *graph.Task) (graph.Command, error) {
	w := newWriter(t)
	for i := range 50 {
		w.write(fmt.Sprintf("token%d ", i))
	}
	return graph.Command{Update: []graph.Write{graph.AddMessage(w.end())}}, nil
}

func failing(context.Context, *graph.Task) (graph.Command, error) {
	return graph.Command{}, graph.Fail("boom")
}

// writer streams the text of one assistant message and keeps what it said.
type writer struct {
	t     *graph.Task
	id    agents.MessageID
	text  strings.Builder
	began time.Time
	// first is when watchers first heard of the message.
	first   time.Time
	started bool
}

func newWriter(t *graph.Task) *writer {
	return &writer{t: t, id: agents.MessageID(t.NewID()), began: t.Clock.Now()}
}

func (w *writer) write(delta string) {
	if delta == "" {
		return
	}
	w.heard()
	if !w.started {
		w.started = true
		w.t.Emit(event.TextMessageStart, event.TextStartData{MessageID: string(w.id), Role: string(agents.RoleAssistant)})
	}
	w.text.WriteString(delta)
	w.t.Emit(event.TextMessageContent, event.TextContentData{MessageID: string(w.id), Delta: delta})
}

// heard notes that watchers learn of the message now.
func (w *writer) heard() {
	if w.first.IsZero() {
		w.first = w.t.Clock.Now()
	}
}

// end closes the stream and returns the message, whose id is the one its
// chunks carried.
func (w *writer) end() agents.Message {
	now := w.t.Clock.Now()
	took := now.Sub(w.began).Milliseconds()
	if w.started {
		w.t.Emit(event.TextMessageEnd, event.TextEndData{MessageID: string(w.id), DurationMS: took})
	}
	w.heard()
	return agents.Message{
		ID: w.id, Role: agents.RoleAssistant, Text: w.text.String(), Run: w.t.Run, DurationMS: took, CreatedAt: w.first,
	}
}
