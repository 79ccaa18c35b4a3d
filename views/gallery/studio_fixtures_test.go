package gallery

import (
	"github.com/a-h/templ"

	"github.com/heddle/heddle/views/layout"
	"github.com/heddle/heddle/views/studio"
)

func studioHome() studio.Home {
	return studio.Home{Outbox: true, Graphs: []studio.GraphLine{
		{Name: "chat", Href: "/dev/graphs/chat", Nodes: 2, Edges: 4}, {Name: "echo", Href: "/dev/graphs/echo", Nodes: 1, Edges: 2}},
		Threads: []studio.ThreadLine{
			{ID: "t1", Title: "Refund for order 1182", Assistant: "Heddle guide", Status: "interrupted", Updated: at("2026-11-21T09:41:00Z", "4 min ago")},
			{ID: "t2", Title: "A-title-without-a-single-blank-that-goes-on-and-on-and-does-not-end-where-a-phone-does", Status: "busy", Updated: at("2026-11-20T09:41:00Z", "yesterday")},
			{ID: "t3", Title: "17*23", Assistant: "Echo", Status: "error", Updated: at("2026-11-20T09:40:00Z", "yesterday")}}}
}

func chatGraph() studio.Graph {
	return studio.Graph{Name: "chat", Start: "__start__", End: "__end__", Nodes: []string{"agent", "tools"}, Outbox: true, Edges: []studio.Edge{
		{From: "__start__", To: "agent"}, {From: "agent", To: "tools", Conditional: true}, {From: "agent", To: "__end__", Conditional: true}, {From: "tools", To: "agent"}}}
}

// wildGraph has branches, edges over several layers, cycles of different
// lengths, a node that may follow itself and names that are hard to fit.
func wildGraph() studio.Graph {
	return studio.Graph{Name: "research", Start: "__start__", End: "__end__",
		Nodes: []string{"plan", "search_the_web_and_every_document_there_is", "read", "ask \"why\"", "評価する", "write"},
		Edges: []studio.Edge{
			{From: "__start__", To: "plan"}, {From: "plan", To: "search_the_web_and_every_document_there_is", Conditional: true},
			{From: "plan", To: "read", Conditional: true}, {From: "plan", To: "ask \"why\"", Conditional: true}, {From: "plan", To: "__end__", Conditional: true},
			{From: "search_the_web_and_every_document_there_is", To: "評価する"}, {From: "read", To: "評価する"}, {From: "read", To: "read", Conditional: true}, {From: "read", To: "plan", Conditional: true},
			{From: "ask \"why\"", To: "plan"}, {From: "評価する", To: "write", Conditional: true}, {From: "評価する", To: "plan", Conditional: true},
			{From: "評価する", To: "read", Conditional: true}, {From: "write", To: "__end__"}}}
}

func inspected() studio.Thread {
	return studio.Thread{ID: "0198f3c2-7a10-7c3e-9a55-0c1d2e3f4a5c", Title: "Refund for order 1182", Status: "interrupted", Owner: "Max", Assistant: "Heddle guide",
		GraphName: "chat", GraphHref: "/dev/graphs/chat", Line: "0198f3c2-7a10-7c3e-9a55-0c1d2e3f4a50", Step: 20, Next: []string{"tools"}, CanWrite: true, Outbox: true, CSRF: csrf,
		Last: "Email bob that we ship on friday.", Runs: []studio.Run{{ID: "0198f3c2-7a10-7c3e-9a55-0c1d2e3f4a51", Status: "waiting"}}, MostCheckpoints: 2, Earlier: 40,
		Interrupts: []studio.Interrupt{{ID: "i1", Title: "review of tools", Payload: "{\n  \"action_requests\": [\n    {\n      \"name\": \"send_email\",\n      \"args\": {\"to\": \"bob@example.com\", \"body\": \"We ship on Friday, and this line goes on for longer than a phone is wide.\"}\n    }\n  ]\n}"}},
		Values:     []studio.Value{{Channel: "plan", Value: "[\n  \"look\",\n  \"leap\"\n]"}, {Channel: "count", Value: "3"}},
		Messages: []studio.Message{
			{ID: "m1", Role: "user", Text: "Email bob that we ship on friday."},
			{ID: "m2", Role: "assistant", Status: "stopped", Text: "I will write to Bob.\n\nhttps://a-very-long-address.example/that/does/not/break/anywhere/because/it/has/no/blank/in/it/at/all", Calls: []studio.Call{{ID: "c1", Name: "send_email", Args: "{\n  \"to\": \"bob@example.com\"\n}"}}},
			{ID: "m3", Role: "tool", Tool: "send_email", CallID: "c1", Text: "<b>sent</b>"}},
		Checkpoints: []studio.Checkpoint{
			{Step: 20, Source: "loop", Run: "0198f3c2-7a10-7c3e-9a55-0c1d2e3f4a51", Next: []string{"tools"}, Ops: 1, Pauses: 1, Deltas: []studio.Delta{{Channel: "count", Op: "add", Value: "1"}, {Channel: "plan", Op: "append", Value: `["leap-without-a-blank-in-it-that-goes-on-and-on-and-on-until-it-has-to-break"]`}}, Whole: true, At: at("2026-11-21T09:41:00Z", "4 min ago")},
			{Step: 19, Source: "update", Ops: 2, At: at("2026-11-21T09:40:00Z", "5 min ago")}}}
}

// failedStep is a thread whose last run failed: what was due can go on.
func failedStep() studio.Thread {
	t := inspected()
	t.Status, t.Owner, t.Runs, t.Interrupts, t.CanContinue, t.Earlier = "error", "", nil, nil, true, 0
	return t
}

func freshThread() studio.Thread {
	return studio.Thread{ID: "t9", Title: "New thread", Status: "idle", Line: "l9", Step: -1, CanWrite: true, MostCheckpoints: 20, CSRF: csrf}
}

func studioPages(p func(string) layout.Page) map[string]templ.Component {
	return map[string]templ.Component{
		"/dev": studio.HomePage(p("Studio"), studioHome()), "/dev/none": studio.HomePage(p("Studio"), studio.Home{Graphs: studioHome().Graphs}),
		"/dev/graphs/chat": studio.GraphPage(p("chat"), chatGraph()), "/dev/graphs/research": studio.GraphPage(p("research"), wildGraph()),
		"/dev/threads/t1": studio.ThreadPage(p("Refund"), inspected()), "/dev/threads/t2": studio.ThreadPage(p("Refund"), failedStep()),
		"/dev/threads/t9": studio.ThreadPage(p("New thread"), freshThread()),
	}
}

func studioStates(p layout.Page) map[string]templ.Component {
	return map[string]templ.Component{
		"graph-chat": studio.Drawing(chatGraph()), "graph-research": studio.Drawing(wildGraph()), "page-studio": studio.HomePage(p, studioHome()),
		"page-studio-graph": studio.GraphPage(p, wildGraph()), "page-studio-thread": studio.ThreadPage(p, inspected()), "page-studio-failed": studio.ThreadPage(p, failedStep()),
	}
}

func studioShots() map[string]string {
	return map[string]string{"studio": "/dev", "studio-chat": "/dev/graphs/chat", "studio-research": "/dev/graphs/research", "studio-thread": "/dev/threads/t1",
		"studio-failed": "/dev/threads/t2"}
}
