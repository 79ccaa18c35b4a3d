package prebuilt

import (
	"context"
	"encoding/json"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/review"
)

// approvalTool is the tool that the approval graph pretends to ask for.
const approvalTool = "approve_this"

// approval compiles the graph by which people try how a client answers a
// question: nothing is ever called, whatever the answer.
func approval() (*graph.Graph, error) {
	return graph.New("approval").
		Node("propose", propose).Node("ask", ask).
		Edge(graph.Start, "propose").Edge("propose", "ask").Edge("ask", graph.End).
		Compile()
}

func propose(_ context.Context, t *graph.Task) (graph.Command, error) {
	args := event.Data(map[string]string{"action": lastSaid(t.State)})
	w := newWriter(t)
	w.heard()
	call := agents.ToolCall{ID: t.NewID(), Name: approvalTool, Args: args}
	t.Emit(event.ToolCallStart, event.ToolStartData{ToolCallID: call.ID, ToolCallName: call.Name, ParentMessageID: string(w.id)})
	t.Emit(event.ToolCallArgs, event.ToolArgsData{ToolCallID: call.ID, Delta: string(args)})
	t.Emit(event.ToolCallEnd, event.ToolEndData{ToolCallID: call.ID})
	m := w.end()
	m.ToolCalls = []agents.ToolCall{call}
	return graph.Command{Update: []graph.Write{graph.AddMessage(m)}}, nil
}

func ask(_ context.Context, t *graph.Task) (graph.Command, error) {
	last, ok := t.State.Last()
	if !ok || len(last.ToolCalls) == 0 {
		return graph.Command{}, graph.Fail("There is nothing to approve.")
	}
	call := last.ToolCalls[0]
	answer, err := t.Interrupt(review.PayloadOf([]review.Action{{
		Name: call.Name, Args: call.Args, Description: "A question of the demo graph: any answer will do.",
		Allowed: []agents.DecisionKind{agents.Approve, agents.Edit, agents.Reject, agents.Respond},
		Schema:  json.RawMessage(`{"type":"object","properties":{"action":{"type":"string"}}}`),
	}}))
	if err != nil {
		return graph.Command{}, err
	}
	now := t.Clock.Now()
	m := agents.Message{ID: agents.MessageID(t.NewID()), Role: agents.RoleTool, Name: call.Name, ToolCallID: call.ID,
		Text: string(answer), Summary: "Answered", Run: t.Run, CreatedAt: now}
	tell(t, m)
	w := newWriter(t)
	w.write("The answer was " + string(answer) + ".")
	return graph.Command{Update: graph.AddMessages(m, w.end())}, nil
}

// lastSaid is what a person wrote last.
func lastSaid(s graph.State) string {
	for i := len(s.Messages()) - 1; i >= 0; i-- {
		if m := s.Messages()[i]; m.Role == agents.RoleUser {
			return m.Text
		}
	}
	return ""
}
