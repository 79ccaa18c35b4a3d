// Package replaytest holds the graphs of which recordings are kept in
// agents/replay/testdata: whoever records them runs them on the server, whoever
// replays them has the same. [Parts] are the pieces that a test exchanges to see
// that it is noticed; the declarations, and so the hashes, stay as they are.
//
// Tests import it.
package replaytest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
)

// Parts are what a test may exchange; what is nil is as it should be.
type Parts struct {
	// Tally is the fan-out's reducer.
	Tally func(old, in Tally) Tally
	// Words part a text into tasks, in the order in which they are sent and their
	// results are merged.
	Words func(text string) []string
	// Warp and Weft are two siblings of one step.
	Warp, Weft graph.Node
	// Hold is called by a node in mid-sentence.
	Hold func(ctx context.Context, t *graph.Task) error
}

// Tally is the value of a channel with a reducer of the graph's own, whose order
// matters.
type Tally struct {
	Count int    `json:"count"`
	Trail string `json:"trail"`
}

// Add is the reducer.
func Add(old, in Tally) Tally {
	return Tally{Count: old.Count + in.Count, Trail: strings.TrimPrefix(old.Trail+" > "+in.Trail, " > ")}
}

// Graphs compiles all of them.
func Graphs(p Parts) ([]*graph.Graph, error) {
	if p.Tally == nil {
		p.Tally = Add
	}
	if p.Words == nil {
		p.Words = strings.Fields
	}
	if p.Warp == nil {
		p.Warp = threads("warp")
	}
	if p.Weft == nil {
		p.Weft = threads("weft")
	}
	if p.Hold == nil {
		p.Hold = func(context.Context, *graph.Task) error { return nil }
	}
	var out []*graph.Graph
	for _, build := range []func(Parts) (*graph.Graph, error){fanout, loom, paint, paintAtOnce, order, orderAtOnce, relay, summary, repaired, diary} {
		g, err := build(p)
		if err != nil {
			return nil, fmt.Errorf("compiling a graph of the recordings: %w", err)
		}
		out = append(out, g)
	}
	return out, nil
}

// say streams a message in pieces, as a model would, and gives it.
func say(t *graph.Task, pieces ...string) agents.Message {
	m := open(t)
	for _, p := range pieces {
		m.Text += p
		t.Emit(event.TextMessageContent, event.TextContentData{MessageID: string(m.ID), Delta: p})
	}
	return shut(t, m)
}

func open(t *graph.Task) agents.Message {
	m := agents.Message{ID: agents.MessageID(t.NewID()), Role: agents.RoleAssistant, Run: t.Run, CreatedAt: t.Clock.Now()}
	t.Emit(event.TextMessageStart, event.TextStartData{MessageID: string(m.ID), Role: string(m.Role)})
	return m
}

func shut(t *graph.Task, m agents.Message) agents.Message {
	t.Emit(event.TextMessageEnd, event.TextEndData{MessageID: string(m.ID)})
	return m
}

func update(writes ...graph.Write) (graph.Command, error) {
	return graph.Command{Update: writes}, nil
}

// asked is what the person wrote last.
func asked(s graph.State) string {
	for _, m := range slices.Backward(s.Messages()) {
		if m.Role == agents.RoleUser {
			return m.Text
		}
	}
	return ""
}

// fanout counts the words of a message, a task for each, beside a second way that
// takes longer, and reports once both are done.
func fanout(p Parts) (*graph.Graph, error) {
	tally := graph.Reduce("tally", "count-and-trail/1", p.Tally)
	seen := graph.Append[string]("seen")
	report := graph.Replace[string]("report")
	return graph.New("weave").Channels(tally, seen, report).
		Node("count", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			word, err := graph.InputOf[string](t)
			if err != nil {
				return graph.Command{}, err
			}
			t.EmitCustom(event.GraphCustom, map[string]any{"word": word, "at": t.Clock.Now()})
			m := say(t, "I count ", word, ".")
			return update(graph.AddMessage(m), tally.Put(Tally{Count: len(word), Trail: word}), seen.Put([]string{word}))
		}).
		Node("measure", func(ctx context.Context, t *graph.Task) (graph.Command, error) {
			m := open(t)
			for i, piece := range []string{"It is ", "this long."} {
				if i == 1 {
					if err := p.Hold(ctx, t); err != nil {
						return graph.Command{}, err
					}
				}
				m.Text += piece
				t.Emit(event.TextMessageContent, event.TextContentData{MessageID: string(m.ID), Delta: piece})
			}
			return update(graph.AddMessage(shut(t, m)), seen.Put([]string{"measured"}))
		}).
		Node("report", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			all, _, err := tally.Get(t.State)
			if err != nil {
				return graph.Command{}, err
			}
			text := fmt.Sprintf("%d letters: %s", all.Count, all.Trail)
			return update(report.Put(text), graph.AddMessage(say(t, text)))
		}).
		Fan(graph.Start, func(s graph.State) ([]graph.Send, error) {
			var out []graph.Send
			for _, word := range p.Words(asked(s)) {
				out = append(out, graph.Send{Node: "count", Input: word})
			}
			return out, nil
		}, "count").
		Entry("measure").Join("report", "count", "measure").Finish("report").
		Compile()
}

var trail = graph.Append[string]("trail")

func threads(which string) graph.Node {
	return func(_ context.Context, t *graph.Task) (graph.Command, error) {
		return update(trail.Put([]string{which}))
	}
}

// loom has two siblings that write to one channel.
func loom(p Parts) (*graph.Graph, error) {
	return graph.New("loom").Channels(trail).
		Node("warp", p.Warp).Node("weft", p.Weft).
		Node("cloth", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			return update(graph.AddMessage(say(t, "The cloth is ready.")))
		}).
		Entry("warp").Entry("weft").Join("cloth", "warp", "weft").Finish("cloth").
		Compile()
}

// paint asks for a colour while a sibling is done at once; paintAtOnce is the same
// without a question.
func paint(Parts) (*graph.Graph, error) {
	return painting("paint", func(t *graph.Task) (string, error) {
		return graph.Ask[string](t, map[string]string{"ask": "Which colour?"})
	})
}

func paintAtOnce(Parts) (*graph.Graph, error) {
	return painting("paint-at-once", func(*graph.Task) (string, error) { return "blue", nil })
}

func painting(name string, colour func(*graph.Task) (string, error)) (*graph.Graph, error) {
	done := graph.Append[string]("done")
	return graph.New(name).Channels(done).
		Node("sand", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			return update(graph.AddMessage(say(t, "It is ", "sanded.")), done.Put([]string{"sanded"}))
		}).
		Node("paint", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			t.EmitCustom(event.GraphCustom, map[string]string{"brush": "in hand"})
			got, err := colour(t)
			if err != nil {
				return graph.Command{}, err
			}
			return update(graph.AddMessage(say(t, "It is ", got, ".")), done.Put([]string{"painted " + got}))
		}).
		Node("dry", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			return update(graph.AddMessage(say(t, "It is dry.")))
		}).
		Entry("sand").Entry("paint").Join("dry", "sand", "paint").Finish("dry").
		Compile()
}

// order has a subgraph that shares the state and one with a state of its own; both
// ask somebody from inside. orderAtOnce is the same without questions.
func order(Parts) (*graph.Graph, error) {
	return ordering("order", graph.Ask[string], graph.Ask[float64])
}

func orderAtOnce(Parts) (*graph.Graph, error) {
	return ordering("order-at-once", func(*graph.Task, any) (string, error) { return "Mia", nil },
		func(*graph.Task, any) (float64, error) { return 12, nil })
}

func ordering(title string, askName func(*graph.Task, any) (string, error), askExtra func(*graph.Task, any) (float64, error)) (*graph.Graph, error) {
	price := graph.Replace[int]("price")
	notes := graph.Append[string]("notes")
	talk, err := graph.New("talk").Channels(notes).
		Node("greet", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			return update(graph.AddMessage(say(t, "Hello.")), notes.Put([]string{"greeted"}))
		}).
		Node("learn", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			name, err := askName(t, "What is your name?")
			if err != nil {
				return graph.Command{}, err
			}
			return update(graph.AddMessage(say(t, "Nice to meet you, ", name, ".")), notes.Put([]string{name}))
		}).
		Entry("greet").Edge("greet", "learn").Finish("learn").Compile()
	if err != nil {
		return nil, err
	}
	estimate := graph.Sum("estimate")
	offer, err := graph.New("offer").Channels(estimate).
		Node("work", func(context.Context, *graph.Task) (graph.Command, error) { return update(estimate.Put(40)) }).
		Node("add", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			extra, err := askExtra(t, "How much for the material?")
			if err != nil {
				return graph.Command{}, err
			}
			return update(estimate.Put(extra))
		}).
		Entry("work").Edge("work", "add").Finish("add").Compile()
	if err != nil {
		return nil, err
	}
	return graph.New(title).Channels(price, notes).
		Subgraph("talk", talk).
		Isolated("offer", offer, func(graph.State, *graph.Task) ([]graph.Write, error) { return nil, nil },
			func(s graph.State) ([]graph.Write, error) {
				sum, _, err := estimate.Get(s)
				return []graph.Write{price.Put(int(sum))}, err
			}).
		Node("tell", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			p, _, err := price.Get(t.State)
			if err != nil {
				return graph.Command{}, err
			}
			return update(graph.AddMessage(say(t, fmt.Sprintf("It costs %d.", p))))
		}).
		Entry("talk").Edge("talk", "offer").Edge("offer", "tell").Finish("tell").
		Compile()
}

// relay has a subgraph of two steps, the second of which may be held.
func relay(p Parts) (*graph.Graph, error) {
	legs, err := graph.New("legs").
		Node("first", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			return update(graph.AddMessage(say(t, "The first leg ", "is run.")))
		}).
		Node("second", func(ctx context.Context, t *graph.Task) (graph.Command, error) {
			m := open(t)
			m.Text = "So is the second."
			t.Emit(event.TextMessageContent, event.TextContentData{MessageID: string(m.ID), Delta: m.Text})
			if err := p.Hold(ctx, t); err != nil {
				return graph.Command{}, err
			}
			return update(graph.AddMessage(shut(t, m)))
		}).
		Entry("first").Edge("first", "second").Finish("second").Compile()
	if err != nil {
		return nil, err
	}
	return graph.New("relay").Subgraph("legs", legs).
		Node("cheer", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			return update(graph.AddMessage(say(t, "Hooray.")))
		}).
		Entry("legs").Edge("legs", "cheer").Finish("cheer").
		Compile()
}

// summary keeps the newest message and a summary of those before it.
func summary(Parts) (*graph.Graph, error) {
	about := graph.Replace[string]("summary")
	return graph.New("summary").Channels(about).
		Node("answer", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			return update(graph.AddMessage(say(t, "You said: ", asked(t.State))))
		}).
		Node("shorten", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			all := t.State.Messages()
			if len(all) < 4 {
				return update()
			}
			text := fmt.Sprintf("%d messages, the first was «%s».", len(all), all[0].Text)
			writes := []graph.Write{about.Put(text)}
			for _, m := range all[:len(all)-1] {
				writes = append(writes, graph.RemoveMessage(m.ID))
			}
			return update(append(writes, graph.AddMessage(say(t, text)))...)
		}).
		Entry("answer").Edge("answer", "shorten").Finish("shorten").
		Compile()
}

// repaired has a node that fails at first and is tried again, and one whose
// failure another one handles.
func repaired(Parts) (*graph.Graph, error) {
	state := graph.Replace[string]("state")
	return graph.New("repaired").Channels(state).
		Node("start", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			m := say(t, "It starts.")
			if t.Try == 1 {
				return graph.Command{}, io.ErrUnexpectedEOF
			}
			return update(graph.AddMessage(m))
		}, graph.Retry(graph.RetryPolicy{})).
		Node("drive", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			say(t, "It drives.")
			return graph.Command{}, graph.Fail("The wheel came off.")
		}, graph.OnError("mend")).
		Node("mend", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			f, _ := graph.Failed(t)
			return update(graph.AddMessage(say(t, "Mended: ", f.Message)), state.Put("mended"))
		}).
		Entry("start").Edge("start", "drive").Finish("drive").Finish("mend").
		Compile()
}

// diary counts over the runs of a thread, and forgets what was private to one.
func diary(Parts) (*graph.Graph, error) {
	days := graph.Sum("days")
	pages := graph.AppendByID[page]("pages")
	thought := graph.Replace[string]("thought").Private()
	return graph.New("diary").Channels(days, pages, thought).
		Node("think", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			return update(thought.Put(strings.ToUpper(asked(t.State))))
		}).
		Node("write", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			mine, _, err := thought.Get(t.State)
			if err != nil {
				return graph.Command{}, err
			}
			day, _, err := days.Get(t.State)
			if err != nil {
				return graph.Command{}, err
			}
			id := fmt.Sprintf("day-%d", int(day)+1)
			return update(days.Put(1), pages.Put([]page{{ID: id, Text: mine, Key: t.NewID()}}), graph.AddMessage(say(t, "Dear diary, ", mine)))
		}).
		Entry("think").Edge("think", "write").Finish("write").
		Compile()
}

// page is one of the diary's; Key is another in every run.
type page struct {
	ID   string `json:"id"`
	Text string `json:"text"`
	Key  string `json:"key"`
}
