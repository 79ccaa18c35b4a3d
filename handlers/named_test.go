package handlers_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
)

// naming is a body or a query that names things beside those of the path, as
// {thread}, {run}, {checkpoint} or {assistant}, and {key} for an item's key.
type naming struct {
	body, query string
	// status is what both must answer; zero: the same, whatever it is.
	status int
}

const hello = `"input":{"messages":[{"role":"user","content":"hello"}]}`

// inRun are the ids that the body of a run may name.
func inRun() []naming {
	return []naming{
		{body: `{"assistant_id":"{assistant}",` + hello + `}`, status: http.StatusNotFound},
		{body: `{"assistant_id":"echo",` + hello + `,"checkpoint_id":"{checkpoint}"}`},
		{body: `{"assistant_id":"echo",` + hello + `,"checkpoint":{"thread_id":"{thread}","checkpoint_ns":"","checkpoint_id":"{checkpoint}"}}`},
		{body: `{"assistant_id":"echo","input":null,"checkpoint_id":"{checkpoint}"}`},
		{body: `{"assistant_id":"echo",` + hello + `,"config":{"configurable":{"thread_id":"{thread}","checkpoint_id":"{checkpoint}"}}}`},
		{body: `{"assistant_id":"echo",` + hello + `,"thread_id":"{thread}"}`},
		{body: `{"assistant_id":"echo","command":{"resume":{"{checkpoint}":"yes"}}}`},
	}
}

// named says for each route of the API, with * for its parameters, which ids may
// stand in its body or query: none, or as in these. An id that a client chooses
// for what it makes is none of them.
func named() map[string][]naming {
	checkpoint := []naming{{body: `{"checkpoint":{"thread_id":"{thread}","checkpoint_ns":"","checkpoint_id":"{checkpoint}"}}`}}
	return map[string][]naming{
		"POST /api/assistants": nil, "PATCH /api/assistants/*": nil, "DELETE /api/assistants/*": nil,
		"POST /api/assistants/search": nil, "POST /api/assistants/count": nil,
		"POST /api/assistants/*/versions": nil, "POST /api/assistants/*/latest": nil,

		"POST /api/threads": nil, "PATCH /api/threads/*": nil, "DELETE /api/threads/*": nil, "POST /api/threads/*/copy": nil,
		"POST /api/threads/search": {
			{body: `{"ids":["{thread}"]}`, status: http.StatusOK}, {body: `{"metadata":{"assistant_id":"{assistant}"}}`, status: http.StatusOK},
		},
		"POST /api/threads/count": {{body: `{"metadata":{"assistant_id":"{assistant}"}}`, status: http.StatusOK}},
		"POST /api/threads/prune": {{body: `{"thread_ids":["{thread}"]}`}, {body: `{"thread_ids":["{thread}"],"strategy":"keep_latest"}`}},
		"POST /api/threads/*/state": {
			{body: `{"values":{"messages":"hi"},"checkpoint_id":"{checkpoint}"}`},
			{body: `{"values":{"messages":"hi"},"checkpoint":{"thread_id":"{thread}","checkpoint_ns":"","checkpoint_id":"{checkpoint}"}}`},
		},
		"PATCH /api/threads/*/state":           nil,
		"POST /api/threads/*/state/checkpoint": {{body: checkpoint[0].body, status: http.StatusNotFound}},
		"POST /api/threads/*/history": {
			{body: `{"before":"{checkpoint}"}`}, {body: `{"before":{"configurable":{"thread_id":"{thread}","checkpoint_id":"{checkpoint}"}}}`}, checkpoint[0],
		},

		"POST /api/threads/*/runs": inRun(), "POST /api/threads/*/runs/wait": inRun(), "POST /api/threads/*/runs/stream": inRun(),
		"POST /api/runs": inRun(), "POST /api/runs/wait": inRun(), "POST /api/runs/stream": inRun(),
		"POST /api/runs/batch": {
			{body: `[{"assistant_id":"{assistant}",` + hello + `}]`, status: http.StatusNotFound},
			{body: `[{"assistant_id":"echo",` + hello + `,"checkpoint_id":"{checkpoint}"}]`},
		},
		"POST /api/threads/*/runs/*/cancel": nil, "DELETE /api/threads/*/runs/*": nil,
		"POST /api/runs/cancel": {
			{body: `{"thread_id":"{thread}","run_ids":["{run}"]}`, status: http.StatusNotFound},
			{body: `{"thread_id":"{own thread}","run_ids":["{run}"]}`, status: http.StatusNotFound},
			{body: `{"thread_id":"{thread}","status":"all"}`},
		},

		"PUT /api/store/items":         {{body: `{"namespace":["canaries"],"key":"{key}","value":{"mine":true}}`}},
		"DELETE /api/store/items":      {{body: `{"namespace":["canaries"],"key":"{key}"}`}},
		"GET /api/store/items":         {{query: "?namespace=canaries&key={key}"}},
		"POST /api/store/items/search": {{body: `{"namespace_prefix":["canaries"],"filter":{"key":"{key}"}}`, status: http.StatusOK}},
		"POST /api/store/namespaces":   {{body: `{"prefix":["canaries","{key}"]}`, status: http.StatusOK}},

		"POST /api/webhooks/deliveries/*/requeue": nil, "POST /api/webhooks/secret/rotate": nil,

		"POST /api/runs/crons": nil, "POST /api/runs/crons/search": nil, "POST /api/runs/crons/count": nil, "PATCH /api/runs/crons/*": nil,
		"DELETE /api/runs/crons/*": nil, "POST /api/threads/*/runs/crons": nil,
	}
}

var parameter = regexp.MustCompile(`:[a-z_]+`)

func starred(r app.Route) string { return r.Method + " " + parameter.ReplaceAllString(r.Path, "*") }

// inBody are things that bodies name.
type inBody struct{ thread, run, checkpoint, assistant, key, own string }

func (b inBody) fill(text string) string {
	return strings.NewReplacer("{thread}", b.thread, "{run}", b.run, "{checkpoint}", b.checkpoint, "{assistant}", b.assistant,
		"{key}", b.key, "{own thread}", b.own).Replace(text)
}

// moments are the times in an answer, which differ between any two.
var moments = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`)

// TestWhatABodyNamesOfOthersLooksAbsent names another organisation's and another
// member's things where a body or a query can: the answer is the one for things
// that do not exist, byte for byte.
func TestWhatABodyNamesOfOthersLooksAbsent(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	routes, entries := apiRoutes(s), named()
	registered := func(method, path string) bool {
		return slices.ContainsFunc(routes, func(r app.Route) bool { return r.Method == method && r.Path == path })
	}
	key := s.Key("acme", "mia@acme.test")
	hers := inBody{key: "canary"}
	hers.thread, hers.run, hers.checkpoint = visited(t, s, key, "canary-question")
	kept, err := s.App.Database().CreateAssistant(t.Context(), s.Scope("acme", "ada@acme.test"), agents.Assistant{Graph: "echo", Name: "canary"}, "")
	require.NoError(t, err)
	hers.assistant = string(kept.ID)
	if registered("PUT", "/api/store/items") {
		put := s.API(key, "PUT", "/api/store/items", map[string]any{"namespace": []string{"canaries"}, "key": "canary", "value": map[string]any{"text": "canary-value"}})
		require.Equal(t, http.StatusNoContent, put.Status, put.Body)
	}
	seen := 0
	for name, stranger := range map[string]struct{ org, email string }{
		"another organisation's": {"globex", "gus@globex.test"}, "a fellow member's": {"acme", "max@acme.test"},
	} {
		key := s.Key(stranger.org, stranger.email, auth.KeyScopes()...)
		for _, r := range routes {
			ways, listed := entries[starred(r)]
			if safe(r.Method) && !listed {
				continue // only few have more than their path; those are listed
			}
			require.True(t, listed, "%q has no entry in named(), handlers/named_test.go: say which ids its body may name, or nil if none", starred(r))
			for _, way := range ways {
				if strings.Contains(way.body, "{assistant}") && stranger.org == "acme" {
					continue // an assistant is everyone's of the organisation
				}
				seen++
				ask := func(in inBody) (int, string) {
					own := absent()
					own.thread, own.run, _ = visited(t, s, key, "hello")
					in.own = own.thread
					path, _, _ := strings.Cut(own.fill(t, r), "?")
					a := streamable(t, s, key, r.Method, path+in.fill(way.query), in.fill(way.body))
					body := strings.NewReplacer(in.thread, "ID", in.run, "ID", in.checkpoint, "ID", in.assistant, "ID", own.thread, "ID", own.run, "ID").Replace(a.body)
					if in.key != "canary" {
						body = strings.ReplaceAll(body, in.key, "canary")
					}
					return a.status, moments.ReplaceAllString(fresh.ReplaceAllString(body, "ID"), "T")
				}
				theirs, said := ask(hers)
				none, unsaid := ask(inBody{thread: id.New(), run: id.New(), checkpoint: id.New(), assistant: id.New(), key: "k" + id.New()})
				what := fmt.Sprintf("%s %s with %s: %s%s", r.Method, r.Path, name, way.body, way.query)
				require.Equal(t, none, theirs, "%s: %s / %s", what, said, unsaid)
				require.Equal(t, unsaid, said, what)
				require.NotContains(t, said, "canary-", what)
				if way.status != 0 {
					require.Equal(t, way.status, theirs, "%s: %s", what, said)
				}
			}
		}
	}
	require.Greater(t, seen, 15)
	state := s.API(key, "GET", "/api/threads/"+hers.thread+"/state", nil)
	require.Contains(t, state.Body, hers.checkpoint, "and nothing of hers has changed")
	if registered("GET", "/api/store/items") {
		item := s.API(key, "GET", "/api/store/items?namespace=canaries&key=canary", nil)
		require.Contains(t, item.Body, "canary-value")
	}
}

// visited makes a thread with one finished run.
func visited(t *testing.T, s *testweb.Server, key, text string) (thread, run, checkpoint string) {
	t.Helper()
	var made struct {
		ID string `json:"thread_id"`
	}
	s.API(key, "POST", "/api/threads", map[string]any{}).JSON(t, &made)
	waited := s.API(key, "POST", "/api/threads/"+made.ID+"/runs/wait", map[string]any{"assistant_id": "echo",
		"input": map[string]any{"messages": []any{map[string]any{"role": "user", "content": text}}}})
	require.Equal(t, http.StatusOK, waited.Status, waited.Body)
	run = waited.Header.Get("Content-Location")
	var state struct {
		Checkpoint struct {
			ID string `json:"checkpoint_id"`
		}
	}
	s.API(key, "GET", "/api/threads/"+made.ID+"/state", nil).JSON(t, &state)
	require.NotEmpty(t, state.Checkpoint.ID)
	return made.ID, run[strings.LastIndex(run, "/")+1:], state.Checkpoint.ID
}

// streamable asks with a body; of a stream it takes the status alone.
func streamable(t *testing.T, s *testweb.Server, key, method, path, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Api-Key", key)
	resp, err := s.Stranger().Do(req)
	require.NoError(t, err)
	return readAnswer(t, resp)
}

// TestAChosenIDOfOthersTellsNothing makes threads under an id that is taken.
func TestAChosenIDOfOthersTellsNothing(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	var made struct {
		ID string `json:"thread_id"`
	}
	key := s.Key("acme", "mia@acme.test")
	s.API(key, "POST", "/api/threads", map[string]any{"metadata": map[string]any{"note": "canary"}}).JSON(t, &made)
	for _, stranger := range []string{s.Key("globex", "gus@globex.test"), s.Key("acme", "max@acme.test")} {
		for _, way := range []string{"raise", "do_nothing"} {
			a := s.API(stranger, "POST", "/api/threads", map[string]any{"thread_id": made.ID, "if_exists": way})
			require.NotContains(t, a.Body, "canary")
			require.Contains(t, []int{http.StatusOK, http.StatusNotFound, http.StatusConflict}, a.Status)
		}
	}
	var kept map[string]json.RawMessage
	s.API(key, "GET", "/api/threads/"+made.ID, nil).JSON(t, &kept)
	require.JSONEq(t, `{"note":"canary"}`, string(kept["metadata"]))
}
