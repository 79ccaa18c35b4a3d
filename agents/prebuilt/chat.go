package prebuilt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/review"
	"github.com/heddle/heddle/agents/tool"
)

// ChatName is the name of the default agent's graph.
const ChatName = "chat"

// ChatOptions are what the chat graph works with.
type ChatOptions struct {
	Models *model.Registry
	Tools  *tool.Registry
	Call   *tool.Dispatcher
	// Ledger keeps what people decided about calls, and what was called.
	Ledger review.Ledger
}

// The nodes of the chat graph.
const (
	nodeAgent = "agent"
	nodeTools = "tools"
)

// Chat compiles the default agent: the model answers or asks for tools, the
// tools run side by side, and the model reads their results, until it answers.
func Chat(o ChatOptions) (*graph.Graph, error) {
	if o.Ledger == nil {
		return nil, errNoLedger
	}
	o.Ledger = marking{o.Ledger}
	c := chat{o}
	return graph.New(ChatName).
		Channels(modelCalls, toolCalls).
		Node(nodeAgent, c.agent).
		Node(nodeTools, c.tools).
		Edge(graph.Start, nodeAgent).
		Branch(nodeAgent, afterAgent, nodeTools, graph.End).
		Edge(nodeTools, nodeAgent).
		Compile()
}

func afterAgent(s graph.State) ([]string, error) {
	if last, ok := s.Last(); ok && last.Role == agents.RoleAssistant && len(last.ToolCalls) > 0 {
		return []string{nodeTools}, nil
	}
	return []string{graph.End}, nil
}

type chat struct{ o ChatOptions }

// modelCalls and toolCalls count what one run has done, for its limits.
var (
	modelCalls = graph.Sum("model_calls").Private()
	toolCalls  = graph.Sum("tool_calls").Private()
)

// spent ends the answer of a run that has asked the model as often as it may.
func spent(t *graph.Task, cfg agents.AssistantConfig) (graph.Command, error) {
	text := fmt.Sprintf("I stop here: this assistant may ask its model %d times for one answer, and has.", cfg.MaxModelCalls)
	if cfg.OnLimit == agents.OnLimitError {
		return graph.Command{}, graph.Fail(fmt.Sprintf("The run asked the model %d times, which is this assistant's limit.", cfg.MaxModelCalls))
	}
	w := newWriter(t)
	w.write(text)
	return graph.Command{Update: []graph.Write{graph.AddMessage(w.end())}}, nil
}

func (c chat) agent(ctx context.Context, t *graph.Task) (graph.Command, error) {
	cfg := t.Assistant.Config.Defaults()
	if asked, _, err := modelCalls.Get(t.State); err != nil || int(asked) >= cfg.MaxModelCalls {
		if err != nil {
			return graph.Command{}, err
		}
		return spent(t, cfg)
	}
	entry, err := c.o.Models.Get(cfg.Model)
	if err != nil {
		return graph.Command{}, graph.Fail("The model " + cfg.Model + " of this assistant is not configured on this server.")
	}
	request := model.Request{
		Model: entry.Name, System: cfg.System(), Messages: toModel(t.State.Messages()),
		Params: model.Params{Temperature: cfg.Temperature, MaxTokens: cfg.MaxTokens},
	}
	for _, spec := range c.o.Tools.Specs(allowed(t)) {
		request.Tools = append(request.Tools, model.ToolSpec{Name: spec.Name, Description: spec.Description, Schema: spec.Schema})
	}
	w := newWriter(t)
	calls := newCallWriter(t, w)
	answer, err := model.Collect(entry.Model.Stream(ctx, request), func(chunk model.Chunk) error {
		if chunk.Kind == model.ChunkText {
			w.write(chunk.Text)
		}
		calls.write(chunk)
		return nil
	})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return graph.Command{}, cause
		}
		if failed := (*model.Error)(nil); errors.As(err, &failed) {
			err = failed.Fault() // what people may read; the cause stays inside
		}
		return graph.Command{}, fmt.Errorf("asking model %s: %w", entry.ID, err)
	}
	m := w.end()
	m.Model = entry.ID
	m.Usage = &agents.TokenUsage{Input: answer.Usage.Input, Output: answer.Usage.Output}
	for i, call := range answer.Message.ToolCalls {
		args := call.Args
		if !json.Valid(args) {
			// The gate refuses it by the schema; stored state must be JSON.
			args = event.Data(string(args))
		}
		m.ToolCalls = append(m.ToolCalls, agents.ToolCall{ID: calls.ids[i], Name: call.Name, Args: args})
	}
	t.EmitCustom(event.Usage, event.UsageValue{
		MessageID: string(m.ID), Model: entry.ID, Input: answer.Usage.Input, Output: answer.Usage.Output, DurationMS: m.DurationMS})
	if m.Text == "" && len(m.ToolCalls) == 0 {
		return graph.Command{}, graph.Fail("The model gave an empty answer.")
	}
	return graph.Command{Update: []graph.Write{modelCalls.Put(1), graph.AddMessage(m)}}, nil
}

// callWriter tells watchers of tool calls while the model writes them.
type callWriter struct {
	t      *graph.Task
	parent *writer
	// ids are those of the calls, in the order of their start.
	ids  []string
	used map[string]bool
}

func newCallWriter(t *graph.Task, parent *writer) *callWriter {
	w := &callWriter{t: t, parent: parent, used: map[string]bool{}}
	for _, m := range t.State.Messages() {
		for _, c := range m.ToolCalls {
			w.used[c.ID] = true
		}
	}
	return w
}

// id names a call. Decisions and the journal are kept under it, so one that the
// thread has seen, as models that count from zero give, is replaced: nothing
// that was decided about another call may hold for this one.
func (w *callWriter) id(given string) string {
	if given == "" || w.used[given] {
		given = w.t.NewID()
	}
	w.used[given] = true
	return given
}

func (w *callWriter) write(c model.Chunk) {
	switch c.Kind {
	case model.ChunkToolStart:
		name := w.id(c.ID)
		w.ids = append(w.ids, name)
		w.parent.heard()
		w.t.Emit(event.ToolCallStart, event.ToolStartData{ToolCallID: name, ToolCallName: c.Name, ParentMessageID: string(w.parent.id)})
	case model.ChunkToolArgs:
		w.t.Emit(event.ToolCallArgs, event.ToolArgsData{ToolCallID: w.ids[c.Index], Delta: c.Text})
	case model.ChunkToolEnd:
		w.t.Emit(event.ToolCallEnd, event.ToolEndData{ToolCallID: w.ids[c.Index]})
	default:
	}
}

// toModel gives the thread in the model's terms; system messages that clients
// put into a thread are read as the person's words, not as the operator's.
func toModel(messages []agents.Message) []model.Message {
	out := make([]model.Message, 0, len(messages))
	for _, m := range messages {
		switch m.Role {
		case agents.RoleAssistant:
			am := model.AssistantText(m.Text)
			if m.Text == "" {
				am.Content = nil
			}
			am.ID = string(m.ID)
			for _, c := range m.ToolCalls {
				am.ToolCalls = append(am.ToolCalls, model.ToolCall{ID: c.ID, Name: c.Name, Args: c.Args})
			}
			if !am.Empty() {
				out = append(out, am)
			}
		case agents.RoleTool:
			out = append(out, model.ToolResult(model.ToolCall{ID: m.ToolCallID, Name: m.Name}, m.Text, m.Status == agents.MessageFailed))
		default:
			um := model.UserText(m.Text)
			um.ID = string(m.ID)
			out = append(out, um)
		}
	}
	return out
}
