package gallery

import (
	"github.com/a-h/templ"

	"github.com/heddle/heddle/views/layout"
	"github.com/heddle/heddle/views/studio"
)

// studioEdges are those of a graph with branches, a loop and a way back.
func studioEdges() []studio.Edge {
	return []studio.Edge{{From: "__start__", To: "plan"}, {From: "plan", To: "search", Conditional: true}, {From: "plan", To: "write", Conditional: true},
		{From: "search", To: "join"}, {From: "write", To: "join"}, {From: "join", To: "plan", Conditional: true}, {From: "join", To: "__end__", Conditional: true},
		{From: "plan", To: "__end__", Conditional: true}}
}

func studioPages(p func(string) layout.Page) map[string]templ.Component {
	state := studio.State{ID: "t1", Title: "Refund for order 1182", Status: "interrupted", Line: "01a2", Step: 7, Next: []string{"tools"}, CanRun: true, Due: true, CSRF: csrf,
		Interrupts: []studio.Text{{Name: "tools", Text: "{\n  \"action_requests\": []\n}"}}, Values: []studio.Text{{Name: "plan", Text: "[]"}},
		Messages: []studio.Message{{ID: "m1", Role: "user", Text: "Can we refund order 1182?"}, {ID: "m2", Role: "assistant", Revision: 1, Calls: []studio.Text{{Name: "search", Text: "{}"}}}},
		Steps:    []studio.Step{{ID: "c7", Step: 7, Source: "loop", Next: "tools", Changes: "interrupts: 1", At: at("2026-11-21T09:41:00Z", "just now")}}}
	return map[string]templ.Component{
		"/dev": studio.HomePage(p("Studio"), studio.Home{Graphs: []string{"chat", "approval"}, Threads: []studio.Thread{
			{ID: "t1", Title: "Refund for order 1182", Status: "idle", Updated: at("2026-11-21T09:41:00Z", "just now")}}}),
		"/dev/graphs/plan": studio.GraphPage(p("Graph plan"), "plan", studio.Draw("__start__", "__end__", studioEdges()), studioEdges()),
		"/dev/threads/t1":  studio.ThreadPage(p("Refund for order 1182"), state),
	}
}
