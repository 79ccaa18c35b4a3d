package api

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
)

// spoken makes the frames of messages: pieces as they come (messages-tuple) or
// the message so far (messages). What no node streamed is told whole, when it is
// stored.
type spoken struct {
	p *projector
	// known are the messages that were told of, with their text so far where a
	// mode shows it.
	known map[string]*speech
	// calls are where tool calls stand, by their id.
	calls map[string]calledAt
	// meta is the metadata of the node that spoke last.
	meta metaOf
}

// speech is a message in the making.
type speech struct {
	text  strings.Builder
	calls []agents.ToolCall
	args  []strings.Builder
}

type calledAt struct {
	message string
	index   int
}

// metaOf is the metadata of one node's pieces, written once.
type metaOf struct {
	node, ns string
	step     int
	raw      []byte
}

func newSpoken(p *projector) *spoken {
	return &spoken{p: p, known: map[string]*speech{}, calls: map[string]calledAt{}}
}

// hear takes an envelope.
func (s *spoken) hear(e event.Envelope) error {
	switch e.Type {
	case event.TextMessageContent:
		var d event.TextContentData
		if err := e.Decode(&d); err != nil {
			return err
		}
		return s.piece(e, d.MessageID, quoted(d.Delta), "", func(m *speech) { m.text.WriteString(d.Delta) })
	case event.TextMessageEnd:
		var d event.TextEndData
		if err := e.Decode(&d); err != nil {
			return err
		}
		return s.end(e, d.MessageID)
	case event.ToolCallStart:
		var d event.ToolStartData
		if err := e.Decode(&d); err != nil {
			return err
		}
		m := s.of(d.ParentMessageID)
		at := calledAt{d.ParentMessageID, len(m.calls)}
		s.calls[d.ToolCallID] = at
		chunk := fmt.Sprintf(`{"id":%s,"name":%s,"args":"","index":%d,"type":"tool_call_chunk"}`, quoted(d.ToolCallID), quoted(d.ToolCallName), at.index)
		return s.piece(e, d.ParentMessageID, []byte(`""`), chunk, func(m *speech) {
			m.calls, m.args = append(m.calls, agents.ToolCall{ID: d.ToolCallID, Name: d.ToolCallName}), append(m.args, strings.Builder{})
		})
	case event.ToolCallArgs:
		var d event.ToolArgsData
		if err := e.Decode(&d); err != nil {
			return err
		}
		at, ok := s.calls[d.ToolCallID]
		if !ok {
			return nil // begun before this stream was joined
		}
		chunk := fmt.Sprintf(`{"id":null,"name":null,"args":%s,"index":%d,"type":"tool_call_chunk"}`, quoted(d.Delta), at.index)
		return s.piece(e, at.message, []byte(`""`), chunk, func(m *speech) { m.args[at.index].WriteString(d.Delta) })
	case event.ToolCallResult:
		var d event.ToolResultData
		if err := e.Decode(&d); err != nil {
			return err
		}
		return s.tell(e, resultOf(d))
	default:
		return nil
	}
}

func (s *spoken) of(id string) *speech {
	m, ok := s.known[id]
	if !ok {
		m = &speech{}
		s.known[id] = m
	}
	return m
}

// piece tells of a piece of a message: content and chunk are JSON, chunk may be
// empty.
func (s *spoken) piece(e event.Envelope, id string, content []byte, chunk string, add func(*speech)) error {
	_, heard := s.known[id]
	m := s.of(id)
	meta, err := s.metadata(e)
	if err != nil {
		return err
	}
	if s.p.modes[modeTuple] {
		s.p.push(modeTuple, "messages", e.NS, tuple(quoted(id), content, chunk, meta))
	}
	if !s.p.modes[modeMessages] {
		return nil // nobody reads the message so far
	}
	add(m)
	if !heard {
		if err := s.p.add(modeMessages, "messages/metadata", e.NS, map[string]any{id: fiber.Map{"metadata": json.RawMessage(meta)}}); err != nil {
			return err
		}
	}
	return s.p.add(modeMessages, "messages/partial", e.NS, []any{m.present(id)})
}

// tuple is a piece of a message and the metadata of its node; all parts are JSON.
func tuple(id, content []byte, chunk string, meta []byte) []byte {
	raw := make([]byte, 0, len(content)+len(chunk)+len(meta)+260)
	raw = append(append(raw, `[{"id":`...), id...)
	raw = append(append(raw, `,"type":"AIMessageChunk","content":`...), content...)
	raw = append(raw, `,"additional_kwargs":{},"response_metadata":{},"tool_calls":[],"invalid_tool_calls":[],"tool_call_chunks":[`...)
	return append(append(append(append(raw, chunk...), `]},`...), meta...), ']')
}

// present is a message in the making in the API's form.
func (m *speech) present(id string) map[string]any {
	calls := make([]agents.ToolCall, len(m.calls))
	for i, c := range m.calls {
		calls[i] = c
		if args := m.args[i].String(); json.Valid([]byte(args)) {
			calls[i].Args = json.RawMessage(args)
		} else {
			calls[i].Args = json.RawMessage("{}") // not whole yet
		}
	}
	return presentMessage(agents.Message{ID: agents.MessageID(id), Role: agents.RoleAssistant, Text: m.text.String(), ToolCalls: calls})
}

func (s *spoken) end(e event.Envelope, id string) error {
	m, heard := s.known[id]
	if !heard || !s.p.modes[modeMessages] {
		return nil
	}
	return s.p.add(modeMessages, "messages/complete", e.NS, []any{m.present(id)})
}

// tell tells of a message that comes whole.
func (s *spoken) tell(e event.Envelope, m agents.Message) error {
	if _, heard := s.known[string(m.ID)]; heard {
		return nil
	}
	s.of(string(m.ID))
	meta, err := s.metadata(e)
	if err != nil {
		return err
	}
	if err := s.p.add(modeTuple, "messages", e.NS, []any{presentMessage(m), json.RawMessage(meta)}); err != nil {
		return err
	}
	if err := s.p.add(modeMessages, "messages/metadata", e.NS, map[string]any{string(m.ID): fiber.Map{"metadata": json.RawMessage(meta)}}); err != nil {
		return err
	}
	return s.p.add(modeMessages, "messages/complete", e.NS, []any{presentMessage(m)})
}

// heard notes the messages of a checkpoint that the client knows.
func (s *spoken) heard(value json.RawMessage) {
	var named event.CheckpointValue
	if json.Unmarshal(value, &named) != nil {
		return
	}
	for _, id := range named.Messages {
		s.of(id)
	}
}

// missing reports whether a checkpoint has messages that nobody streamed.
func (s *spoken) missing(value json.RawMessage) bool {
	var named event.CheckpointValue
	if json.Unmarshal(value, &named) != nil {
		return false
	}
	for _, id := range named.Messages {
		if _, heard := s.known[id]; !heard {
			return true
		}
	}
	return false
}

// whole tells of the messages of a stored step that nobody streamed.
func (s *spoken) whole(e event.Envelope, stepped graph.Stepped) error {
	if !s.p.modes.any(modeTuple, modeMessages) || stepped.State.Head.Source != agents.SourceLoop {
		return nil
	}
	for _, u := range stepped.Updates() {
		for _, w := range u.Writes {
			if w.Message == nil || w.Message.Role == "" {
				continue
			}
			at := e
			at.Node, at.Step = u.Node, stepped.State.Step
			if err := s.tell(at, *w.Message); err != nil {
				return err
			}
		}
	}
	return nil
}

// metadata is what LangGraph's clients read beside a piece: above all which node
// speaks.
func (s *spoken) metadata(e event.Envelope) ([]byte, error) {
	ns := strings.Join(e.NS, "|")
	if s.meta.raw != nil && s.meta.node == e.Node && s.meta.ns == ns && s.meta.step == e.Step {
		return s.meta.raw, nil
	}
	raw, err := json.Marshal(s.p.metadata(e))
	if err != nil {
		return nil, fmt.Errorf("writing a message's metadata as JSON: %w", err)
	}
	s.meta = metaOf{node: e.Node, ns: ns, step: e.Step, raw: raw}
	return raw, nil
}

// metadata says where in the graph an envelope comes from; of the run itself, only
// which run.
func (p *projector) metadata(e event.Envelope) fiber.Map {
	out := fiber.Map{"run_id": p.run, "thread_id": p.thread, "graph_id": p.graph, "assistant_id": p.assistant, "run_attempt": p.attempt, "tags": []string{}}
	if e.Node == "" {
		return out
	}
	at := e.Node + ":" + p.taskOf(e, 0)
	if len(e.NS) > 0 {
		at = strings.Join(e.NS, "|") + "|" + at
	}
	out["langgraph_node"], out["langgraph_step"], out["langgraph_triggers"] = e.Node, e.Step, triggers(e.Node)
	out["langgraph_path"], out["langgraph_checkpoint_ns"], out["checkpoint_ns"] = []string{"__pregel_pull", e.Node}, at, at
	return out
}

// taskOf is the id of the task that an envelope comes from, as a state lists it
// while it is due.
func (p *projector) taskOf(e event.Envelope, task int) string {
	line := p.line
	if n := len(e.NS); n > 0 {
		_, name, _ := strings.Cut(e.NS[n-1], ":")
		line = agents.LineID(name)
	}
	if line == "" || e.Step < 1 {
		return strconv.Itoa(task)
	}
	return taskAt(line, e.Step-1, task)
}
