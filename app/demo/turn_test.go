package demo_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/model/script"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/agents/tool/builtin"
	"github.com/heddle/heddle/app/demo"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
)

// titles finds documents that have a word of the query in their title.
type titles []demo.Document

func (d titles) Search(_ context.Context, _ auth.Scope, query string, limit int) ([]builtin.Hit, error) {
	var out []builtin.Hit
	for _, doc := range d {
		for word := range strings.FieldsSeq(strings.ToLower(query)) {
			if len(word) > 4 && strings.Contains(strings.ToLower(doc.Title), strings.TrimSuffix(word, "s")) && len(out) < limit {
				out = append(out, builtin.Hit{ID: doc.Slug, Title: doc.Title, URL: "/documents/" + doc.Slug, Snippet: doc.Body})
				break
			}
		}
	}
	return out, nil
}

// pocket is a memory of one person.
type pocket map[string]json.RawMessage

func (p pocket) Put(_ context.Context, _ auth.Scope, _ []string, key string, value json.RawMessage, _ agents.Source) error {
	p[key] = value
	return nil
}

func (p pocket) Search(_ context.Context, _ auth.Scope, _ []string, query string, _ int) ([]builtin.Item, error) {
	var out []builtin.Item
	for key, value := range p {
		if strings.Contains(string(value), query) {
			out = append(out, builtin.Item{Key: key, Value: value})
		}
	}
	return out, nil
}

// TestTheMockAndTheToolsUnderstandEachOther plays whole turns: the mock's
// calls run through the dispatcher, and its answer is read.
func TestTheMockAndTheToolsUnderstandEachOther(t *testing.T) {
	docs, err := demo.Documents()
	require.NoError(t, err)
	tools, err := builtin.All(builtin.Deps{Searcher: titles(docs), Memory: pocket{}})
	require.NoError(t, err)
	registry, err := tool.NewRegistry(tools...)
	require.NoError(t, err)
	dispatcher := tool.NewDispatcher(registry, tool.DispatcherOptions{})
	mock, err := script.New(script.Options{})
	require.NoError(t, err)

	var specs []model.ToolSpec
	for _, s := range registry.Specs(registry.Names()) {
		specs = append(specs, model.ToolSpec{Name: s.Name, Description: s.Description, Schema: s.Schema})
	}
	inv := tool.Invocation{
		Scope: auth.Scope{User: "mia", Org: "acme", Role: auth.RoleMember},
		Clock: clock.NewFake(time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)),
	}
	turn := func(text string) string {
		req := model.Request{Model: script.ID, Tools: specs, Messages: []model.Message{model.UserText(text)}}
		for range 2 {
			answer, err := model.Collect(mock.Stream(t.Context(), req))
			require.NoError(t, err)
			if len(answer.Message.ToolCalls) == 0 {
				return answer.Message.Text()
			}
			req.Messages = append(req.Messages, answer.Message)
			for _, c := range answer.Message.ToolCalls {
				r, err := dispatcher.Call(t.Context(), tool.Limits{Allowed: registry.Names()}, inv, c.Name, c.Args)
				require.NoError(t, err)
				req.Messages = append(req.Messages, model.ToolResult(c, r.Content, r.Failed))
			}
		}
		t.Fatalf("%q never got its answer", text)
		return ""
	}

	for _, step := range []struct{ text, want string }{
		{"what is 17*23", "**391**"},
		{"what is 15% of 80", "**12**"},
		{"calculate 1/0", "division by zero"},
		{"What time is it in Tokyo?", "18:00 (UTC+09:00)"},
		{"what time is it in Atlantis", "not known"},
		{"what time is it", "09:00"},
		{"weather in Berlin and Oslo", "- Oslo: -2 °C, snow"},
		{"weather in Berlin and Atlantis", "there is no demo weather"},
		{"what do you remember about me", "not asked me"},
		{"remember that I like tea", "you like tea"},
		{"what do you remember about me?", "- You like tea"},
		{"what do you know about my dog", "nothing about exactly that"},
		{"what is our refund policy", "[Refund policy](/documents/refund-policy)"},
		{"search for unicorns", "found nothing"},
		{"email bob@example.com that we ship on friday", "does not have the tool send_email"},
		{"plan a launch", "### 1."},
	} {
		require.Contains(t, turn(step.text), step.want, step.text)
	}
}
