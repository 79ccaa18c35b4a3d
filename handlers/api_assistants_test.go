package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
)

type jsonMap = map[string]any

// toldBy asks the API and reads the answer of the wanted status.
func toldBy[T any](t *testing.T, s *testweb.Server, key string, want int, method, path string, body any) (out T) {
	t.Helper()
	a := s.API(key, method, "/api"+path, body)
	require.Equal(t, want, a.Status, "%s %s: %s", method, path, a.Body)
	a.JSON(t, &out)
	return out
}

func managerKey(s *testweb.Server) string { return s.Key("acme", "ada@acme.test", auth.KeyScopes()...) }

func memberKey(s *testweb.Server) string { return s.Key("acme", "mia@acme.test") }

func inputOf(text string) jsonMap {
	return jsonMap{"messages": []any{jsonMap{"role": "user", "content": text}}}
}

// mirror is a graph that answers with what its assistant and its run were given;
// its subgraph has one of its own.
func mirror(t *testing.T) *graph.Graph {
	t.Helper()
	leaf, err := graph.New("leaf").Channels(graph.Sum("depth")).Node("work", mirrorAnswer).Entry("work").Finish("work").Compile()
	require.NoError(t, err)
	branch, err := graph.New("branch").Subgraph("leaf", leaf).Entry("leaf").Finish("leaf").Compile()
	require.NoError(t, err)
	g, err := graph.New("mirror").Channels(graph.Append[string]("notes"), graph.Sum("secret").Private()).Context(graph.Needs[string]("locale")).
		Node("answer", mirrorAnswer).Subgraph("branch", branch).
		Entry("answer").Branch("answer", func(graph.State) ([]string, error) { return []string{graph.End}, nil }, "branch", graph.End).
		Finish("branch").Compile()
	require.NoError(t, err)
	return g
}

func mirrorAnswer(_ context.Context, t *graph.Task) (graph.Command, error) {
	text, err := json.Marshal(jsonMap{"context": t.Context, "params": t.Assistant.Config.Params, "temperature": t.Assistant.Config.Temperature,
		"version": t.Assistant.Version})
	return graph.Command{Update: []graph.Write{graph.AddMessage(agents.Message{
		ID: agents.MessageID(t.NewID()), Role: agents.RoleAssistant, Text: string(text)})}}, err
}

// mirrored runs an assistant on a thread and reads what it says.
func mirrored(t *testing.T, s *testweb.Server, key, thread, assistant string, more jsonMap) (out jsonMap) {
	t.Helper()
	body := jsonMap{"assistant_id": assistant, "input": inputOf("hello"), "if_not_exists": "create"}
	for k, v := range more {
		body[k] = v
	}
	values := toldBy[struct{ Messages []struct{ Content string } }](t, s, key, http.StatusOK, "POST", "/threads/"+thread+"/runs/wait", body)
	require.NotEmpty(t, values.Messages)
	require.NoError(t, json.Unmarshal([]byte(values.Messages[len(values.Messages)-1].Content), &out))
	return out
}

func TestAnAssistantMadeByTheAPIIsTheOneOnThePages(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	key := managerKey(s)
	own := id.New()
	made := toldBy[jsonMap](t, s, key, http.StatusOK, "POST", "/assistants", jsonMap{
		"assistant_id": strings.ToUpper(own), "graph_id": "chat", "name": "Desk", "description": "Answers", "metadata": jsonMap{"team": "desk", "tier": 1},
		"config":  jsonMap{"tags": []string{"x"}, "recursion_limit": 30, "configurable": jsonMap{"prompt": "Be brief.", "temperature": 0.2, "tools": []string{"search"}, "mine": jsonMap{"a": 1}}},
		"context": jsonMap{"locale": "de", "user_id": "somebody"}, "unknown": true})
	require.Equal(t, own, made["assistant_id"])
	require.Equal(t, jsonMap{"tags": []any{"x"}, "recursion_limit": 30.0, "configurable": jsonMap{"prompt": "Be brief.", "temperature": 0.2, "tools": []any{"search"}, "mine": jsonMap{"a": 1.0}}}, made["config"])
	require.Equal(t, jsonMap{"locale": "de"}, made["context"], "names of identity are taken out")
	require.Equal(t, 1.0, made["version"])
	require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, made["created_at"])
	require.Equal(t, made, toldBy[jsonMap](t, s, memberKey(s), http.StatusOK, "GET", "/assistants/"+own, nil))

	changed := toldBy[jsonMap](t, s, key, http.StatusOK, "PATCH", "/assistants/"+own, jsonMap{
		"metadata": jsonMap{"tier": 2, "new": nil}, "description": "", "name": nil, "graph_id": "chat"})
	require.Equal(t, jsonMap{"team": "desk", "tier": 2.0, "new": nil}, changed["metadata"], "metadata are merged")
	require.Equal(t, made["config"], changed["config"], "what is not there stays")
	require.Equal(t, "Desk", changed["name"], "and so does what is null")
	require.Equal(t, "", changed["description"])
	require.Equal(t, 2.0, changed["version"])
	changed = toldBy[jsonMap](t, s, key, http.StatusOK, "PATCH", "/assistants/"+own, jsonMap{"config": jsonMap{"configurable": jsonMap{"temperature": 1}}, "context": jsonMap{}})
	require.Equal(t, jsonMap{"configurable": jsonMap{"temperature": 1.0}}, changed["config"], "a config is replaced whole")
	require.Equal(t, jsonMap{}, changed["context"])

	ada := s.SignIn("ada@acme.test")
	page := s.Page(ada, "/admin/assistants/"+own)
	require.Equal(t, "1", page.Find("[name=temperature]").AttrOr("value", ""))
	require.Contains(t, page.Text("#history + .rows"), "Changed through the API: config, context")
	require.Contains(t, page.Text("#history + .rows"), "by Ada")
	first := s.Page(ada, "/admin/assistants/"+own+"/versions/1").Text(".version-facts")
	require.Contains(t, first, "Be brief.")
	require.Contains(t, first, `mine: {"a": 1}`, "settings of the graph")
	require.Contains(t, first, `locale: "de"`)
	form := filled(page)
	form.Set("prompt", "From the form.")
	form.Set("comment", "by hand")
	require.Equal(t, http.StatusOK, s.Post(ada, "/admin/assistants/"+own, form).Status)
	now := toldBy[jsonMap](t, s, key, http.StatusOK, "GET", "/assistants/"+own, nil)
	require.Equal(t, "From the form.", now["config"].(jsonMap)["configurable"].(jsonMap)["prompt"])
	require.Equal(t, changed["metadata"], now["metadata"], "which no form shows")
	log := s.Page(ada, "/admin/audit").Text("main")
	require.Contains(t, log, "Desk")
	require.Contains(t, log, "API key", "the audit log says by which door")
}

func TestARunGetsWhatItsAssistantSays(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{mirror(t)}})
	key := managerKey(s)
	made := toldBy[struct {
		ID string `json:"assistant_id"`
	}](t, s, key, http.StatusOK, "POST", "/assistants", jsonMap{"graph_id": "mirror", "context": jsonMap{"locale": "de", "desk": 7},
		"config": jsonMap{"configurable": jsonMap{"temperature": 1.5, "pace": "slow"}}})
	thread := id.New()
	require.Equal(t, jsonMap{"context": jsonMap{"locale": "de", "desk": 7.0}, "params": jsonMap{"pace": "slow"}, "temperature": 1.5, "version": 1.0},
		mirrored(t, s, key, thread, made.ID, nil))
	require.Equal(t, jsonMap{"locale": "fr", "desk": 7.0}, mirrored(t, s, key, thread, made.ID, jsonMap{"context": jsonMap{"locale": "fr"}})["context"],
		"the run's own word goes first")

	toldBy[jsonMap](t, s, key, http.StatusOK, "PATCH", "/assistants/"+made.ID, jsonMap{"context": jsonMap{"locale": "it"}})
	require.Equal(t, 1.0, mirrored(t, s, key, thread, made.ID, nil)["version"], "a thread keeps its version")
	fresh := mirrored(t, s, key, id.New(), made.ID, nil)
	require.Equal(t, jsonMap{"locale": "it"}, fresh["context"])
	require.Equal(t, 2.0, fresh["version"])

	refused := toldBy[struct{ Fields map[string]string }](t, s, key, http.StatusUnprocessableEntity, "POST", "/threads/"+id.New()+"/runs/wait",
		jsonMap{"assistant_id": "mirror", "input": inputOf("hello"), "if_not_exists": "create"})
	require.Contains(t, refused.Fields, "context.locale", "the default assistant has none")
}

func TestWhatAnAssistantMayNotBeIsNamed(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	key := managerKey(s)
	for want, body := range map[string]jsonMap{
		"graph_id":                               {},
		"assistant_id":                           {"graph_id": "chat", "assistant_id": "mine"},
		"if_exists":                              {"graph_id": "chat", "if_exists": "replace"},
		"name":                                   {"graph_id": "chat", "name": strings.Repeat("n", 81)},
		"description":                            {"graph_id": "chat", "description": strings.Repeat("d", 501)},
		"metadata":                               {"graph_id": "chat", "metadata": []int{1}},
		"context":                                {"graph_id": "chat", "context": "x"},
		"config":                                 {"graph_id": "chat", "config": 1},
		"config.recursion_limit":                 {"graph_id": "chat", "config": jsonMap{"recursion_limit": 0}},
		"config.tags":                            {"graph_id": "chat", "config": jsonMap{"tags": []string{strings.Repeat("t", 101)}}},
		"config.configurable.temperature":        {"graph_id": "chat", "config": jsonMap{"configurable": jsonMap{"temperature": 2.01}}},
		"config.configurable.max_tokens":         {"graph_id": "chat", "config": jsonMap{"configurable": jsonMap{"max_tokens": 99}}},
		"config.configurable.model":              {"graph_id": "chat", "config": jsonMap{"configurable": jsonMap{"model": "none"}}},
		"config.configurable.tools":              {"graph_id": "chat", "config": jsonMap{"configurable": jsonMap{"tools": []string{"none"}}}},
		"config.configurable":                    {"graph_id": "chat", "config": jsonMap{"configurable": jsonMap{"x": strings.Repeat("x", 70_000)}}},
		"config.configurable.policies[0].review": {"graph_id": "chat", "config": jsonMap{"configurable": jsonMap{"policies": []jsonMap{{"tool": "send_email", "review": "never"}}}}},
		"body":                                   {"graph_id": "chat", "name": "a\x00b"},
	} {
		refused := toldBy[struct {
			Detail string
			Fields map[string]string
		}](t, s, key, http.StatusUnprocessableEntity, "POST", "/assistants", body)
		require.Contains(t, refused.Fields, want)
		require.Contains(t, refused.Detail, want)
	}
	absent := toldBy[jsonMap](t, s, key, http.StatusNotFound, "POST", "/assistants", jsonMap{"graph_id": "none"})
	require.Equal(t, "Graph not found", absent["detail"])
	made := toldBy[jsonMap](t, s, key, http.StatusOK, "POST", "/assistants", jsonMap{"graph_id": "chat", "name": nil, "config": nil, "context": nil, "metadata": nil})
	require.Equal(t, "Untitled", made["name"])
	for _, field := range []string{"config", "context", "metadata"} {
		require.Equal(t, jsonMap{}, made[field])
	}
	at := "/assistants/" + made["assistant_id"].(string)
	for path, body := range map[string]jsonMap{"": {"graph_id": "echo"}, "/latest": {}, "/versions": {"limit": 0}} {
		method := "POST"
		if path == "" {
			method = "PATCH"
		}
		toldBy[jsonMap](t, s, key, http.StatusUnprocessableEntity, method, at+path, body)
	}
	for _, query := range []string{"/graph?xray=deep", "/graph?xray=-1", "/subgraphs?recurse=perhaps"} {
		toldBy[jsonMap](t, s, key, http.StatusUnprocessableEntity, "GET", at+query, nil)
	}
	toldBy[jsonMap](t, s, key, http.StatusUnprocessableEntity, "DELETE", at+"?delete_threads=some", nil)
	for _, body := range []jsonMap{{"sort_by": "size"}, {"sort_order": "up"}, {"metadata": "x"}, {"limit": 1001}, {"offset": -1}} {
		toldBy[jsonMap](t, s, key, http.StatusUnprocessableEntity, "POST", "/assistants/search", body)
	}
	require.Equal(t, 1.0, toldBy[jsonMap](t, s, key, http.StatusOK, "GET", at, nil)["version"], "and nothing was saved")
}

func TestAnIdIsTakenOnce(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	key, own := managerKey(s), id.New()
	body := func(name string, more jsonMap) jsonMap {
		out := jsonMap{"graph_id": "chat", "assistant_id": own, "name": name}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	first := toldBy[jsonMap](t, s, key, http.StatusOK, "POST", "/assistants", body("first", nil))
	require.Contains(t, toldBy[jsonMap](t, s, key, http.StatusConflict, "POST", "/assistants", body("second", nil))["detail"], "exists")
	require.Equal(t, first, toldBy[jsonMap](t, s, key, http.StatusOK, "POST", "/assistants", body("second", jsonMap{"if_exists": "do_nothing"})))
	foreign := toldBy[jsonMap](t, s, s.Key("globex", "gus@globex.test", auth.KeyScopes()...), http.StatusOK, "POST", "/assistants", body("theirs", nil))
	require.Equal(t, "theirs", foreign["name"], "another organisation doesn't notice")

	echo := string(id.Named(id.GraphNamespace, "echo"))
	toldBy[jsonMap](t, s, key, http.StatusConflict, "POST", "/assistants", jsonMap{"graph_id": "chat", "assistant_id": echo})
	require.Equal(t, "echo", toldBy[jsonMap](t, s, key, http.StatusOK, "GET", "/assistants/echo", nil)["graph_id"])
}

func TestAssistantsAreListedInPieces(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	key, reader := managerKey(s), memberKey(s)
	for i := range 12 {
		toldBy[jsonMap](t, s, key, http.StatusOK, "POST", "/assistants", jsonMap{"graph_id": "echo", "name": fmt.Sprintf("Piece %02d", i), "metadata": jsonMap{"of": jsonMap{"set": "pieces", "even": i%2 == 0}}})
	}
	search := func(body jsonMap) ([]jsonMap, http.Header) {
		a := s.API(reader, "POST", "/api/assistants/search", body)
		require.Equal(t, http.StatusOK, a.Status, a.Body)
		var out []jsonMap
		a.JSON(t, &out)
		return out, a.Header
	}
	pieces := jsonMap{"metadata": jsonMap{"of": jsonMap{"set": "pieces"}}}
	first, header := search(pieces)
	require.Len(t, first, 10)
	require.Equal(t, "Piece 11", first[0]["name"], "the newest first")
	require.Equal(t, "12", header.Get("X-Pagination-Total"))
	require.Equal(t, "10", header.Get("X-Pagination-Next"))
	pieces["offset"] = 10
	rest, header := search(pieces)
	require.Len(t, rest, 2)
	require.Empty(t, header.Values("X-Pagination-Next"))
	exact, header := search(jsonMap{"metadata": jsonMap{"of": jsonMap{"even": true}}, "limit": 6})
	require.Len(t, exact, 6)
	require.Empty(t, header.Values("X-Pagination-Next"), "nothing is left")
	chosen, _ := search(jsonMap{"name": "piece 0", "sort_by": "name", "sort_order": "asc", "limit": 2, "select": []string{"name", "version", "nonsense"}})
	require.Equal(t, []jsonMap{{"name": "Piece 00", "version": 1.0}, {"name": "Piece 01", "version": 1.0}}, chosen)
	require.Equal(t, 12, toldBy[int](t, s, reader, http.StatusOK, "POST", "/assistants/count", jsonMap{"metadata": jsonMap{"of": jsonMap{"set": "pieces"}}}))
	require.Equal(t, 0, toldBy[int](t, s, reader, http.StatusOK, "POST", "/assistants/count", jsonMap{"graph_id": "none"}))
	none := s.API(reader, "POST", "/api/assistants/search", jsonMap{"graph_id": "none"})
	require.Equal(t, "[]", none.Body)
}

func TestDefaultAssistantsAppearByThemselves(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	key := s.Key("globex", "gia@globex.test")
	graphs := func(s *testweb.Server) (out []string) {
		for _, a := range toldBy[[]jsonMap](t, s, key, http.StatusOK, "POST", "/assistants/search", jsonMap{"metadata": jsonMap{"created_by": "system"}, "limit": 100, "select": []string{"graph_id", "name"}}) {
			if a["graph_id"] == a["name"] {
				out = append(out, a["graph_id"].(string))
			}
		}
		return out
	}
	require.Subset(t, graphs(s), []string{"chat", "echo", "slow", "stream50", "approval", "failing"}, "an organisation's first question")
	newer := testweb.Start(t, testweb.Options{DatabaseURL: s.DatabaseURL, RedisURL: s.RedisURL, Graphs: []*graph.Graph{mirror(t)}})
	require.Contains(t, graphs(newer), "mirror", "a graph that a later server brings")
	found := toldBy[jsonMap](t, s, key, http.StatusOK, "GET", "/assistants/chat", nil)
	require.Equal(t, string(id.Named(id.GraphNamespace, "chat")), found["assistant_id"])
}

func TestVersionsAreListedAndTakenAgain(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	key := managerKey(s)
	made := toldBy[jsonMap](t, s, key, http.StatusOK, "POST", "/assistants", jsonMap{"graph_id": "chat", "name": "One", "metadata": jsonMap{"n": 1}, "context": jsonMap{"c": 1},
		"config": jsonMap{"configurable": jsonMap{"prompt": "One."}}})
	at := "/assistants/" + made["assistant_id"].(string)
	toldBy[jsonMap](t, s, key, http.StatusOK, "PATCH", at, jsonMap{"name": "Two", "metadata": jsonMap{"n": 2}, "config": jsonMap{}, "context": jsonMap{"c": 2}})
	toldBy[jsonMap](t, s, key, http.StatusOK, "PATCH", at, jsonMap{"metadata": jsonMap{"n": 3}})

	listed := s.API(memberKey(s), "POST", "/api"+at+"/versions", jsonMap{"limit": 2})
	require.Equal(t, "3", listed.Header.Get("X-Pagination-Total"))
	require.Equal(t, "2", listed.Header.Get("X-Pagination-Next"))
	var versions []jsonMap
	listed.JSON(t, &versions)
	require.Len(t, versions, 2)
	require.Equal(t, 3.0, versions[0]["version"])
	require.Equal(t, 2.0, versions[1]["version"])
	require.Equal(t, versions[1]["updated_at"], versions[1]["created_at"], "a version is as old as its save")
	first := toldBy[[]jsonMap](t, s, key, http.StatusOK, "POST", at+"/versions", jsonMap{"metadata": jsonMap{"n": 1}})
	require.Len(t, first, 1)
	require.Equal(t, made["config"], first[0]["config"])

	back := toldBy[jsonMap](t, s, key, http.StatusOK, "POST", at+"/latest", jsonMap{"version": 1})
	require.Equal(t, 4.0, back["version"], "history only grows")
	for _, field := range []string{"name", "config", "context", "metadata", "created_at"} {
		require.Equal(t, made[field], back[field], field)
	}
	require.Equal(t, back, toldBy[jsonMap](t, s, key, http.StatusOK, "GET", at, nil))
	require.Equal(t, back, toldBy[jsonMap](t, s, key, http.StatusOK, "POST", at+"/latest", jsonMap{"version": 4}), "which is in use")
	for _, none := range []int{0, -1, 5, 1 << 40} {
		toldBy[jsonMap](t, s, key, http.StatusNotFound, "POST", at+"/latest", jsonMap{"version": none})
	}

	newest := toldBy[jsonMap](t, s, key, http.StatusOK, "GET", at, nil)
	same := toldBy[jsonMap](t, s, key, http.StatusOK, "PATCH", at, jsonMap{})
	require.Equal(t, newest["version"].(float64)+1, same["version"], "without exception, as the contract has it")
	require.Equal(t, newest["config"], same["config"])
}

func TestADeletedAssistantIsGoneForClientsAndLeavesNothingHanging(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{mirror(t)}})
	key, mia := managerKey(s), memberKey(s)
	own := id.New()
	body := jsonMap{"assistant_id": own, "graph_id": "mirror", "name": "Desk", "context": jsonMap{"locale": "de"}}
	toldBy[jsonMap](t, s, key, http.StatusOK, "POST", "/assistants", body)
	at := "/assistants/" + own
	hers, his, other := id.New(), id.New(), id.New()
	mirrored(t, s, mia, hers, own, nil)
	mirrored(t, s, key, his, own, nil)
	mirrored(t, s, key, other, "mirror", jsonMap{"context": jsonMap{"locale": "de"}})

	require.Equal(t, jsonMap{"deleted_threads": 1.0}, toldBy[jsonMap](t, s, key, http.StatusOK, "DELETE", at+"?delete_threads=true", nil))
	toldBy[jsonMap](t, s, key, http.StatusNotFound, "GET", "/threads/"+his, nil)
	toldBy[jsonMap](t, s, key, http.StatusOK, "GET", "/threads/"+other, nil)
	for _, call := range [][2]string{{"GET", ""}, {"PATCH", ""}, {"DELETE", ""}, {"POST", "/versions"}, {"POST", "/latest"}, {"GET", "/graph"}, {"GET", "/schemas"}, {"GET", "/subgraphs"}} {
		var send any
		if call[0] != "GET" {
			send = jsonMap{}
		}
		require.Equal(t, "Assistant not found", toldBy[jsonMap](t, s, key, http.StatusNotFound, call[0], at+call[1], send)["detail"])
	}
	require.Equal(t, 0, toldBy[int](t, s, key, http.StatusOK, "POST", "/assistants/count", jsonMap{"name": "Desk"}))
	toldBy[jsonMap](t, s, mia, http.StatusNotFound, "POST", "/threads/"+id.New()+"/runs/wait", jsonMap{"assistant_id": own, "input": inputOf("hello"), "if_not_exists": "create"})
	require.Equal(t, 1.0, mirrored(t, s, mia, hers, own, nil)["version"], "a thread of somebody else goes on with it")
	ada := s.SignIn("ada@acme.test")
	require.Contains(t, s.Page(ada, "/admin/assistants?archived=1").Text("main"), "Desk")

	toldBy[jsonMap](t, s, key, http.StatusConflict, "POST", "/assistants", jsonMap{"assistant_id": own, "graph_id": "chat"})
	body["name"] = "Desk again"
	again := toldBy[jsonMap](t, s, key, http.StatusOK, "POST", "/assistants", body)
	require.Equal(t, 2.0, again["version"], "a number never stands for two things")
	require.Equal(t, "Desk again", again["name"])
	require.Equal(t, again, toldBy[jsonMap](t, s, key, http.StatusOK, "GET", at, nil))
	require.Equal(t, jsonMap{"deleted_threads": 0.0}, toldBy[jsonMap](t, s, key, http.StatusOK, "DELETE", at, nil))
}

func TestAnAssistantsGraphIsDrawn(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{mirror(t)}})
	key := memberKey(s)
	type drawn struct {
		Nodes []struct{ ID, Type string }
		Edges []struct {
			Source, Target string
			Conditional    bool
		}
	}
	for query, want := range map[string][]string{
		"":            {"__start__", "answer", "branch", "__end__"},
		"?xray=false": {"__start__", "answer", "branch", "__end__"},
		"?xray=1":     {"__start__", "answer", "branch:__start__", "branch:leaf", "branch:__end__", "__end__"},
		"?xray=true":  {"__start__", "answer", "branch:__start__", "branch:leaf:__start__", "branch:leaf:work", "branch:leaf:__end__", "branch:__end__", "__end__"},
	} {
		got := toldBy[drawn](t, s, key, http.StatusOK, "GET", "/assistants/mirror/graph"+query, nil)
		ids, last := []string{}, ""
		for _, n := range got.Nodes {
			ids = append(ids, n.ID)
		}
		require.Equal(t, want, ids, query)
		require.Equal(t, "schema", got.Nodes[0].Type)
		reached := map[string]bool{"__start__": true}
		for range got.Edges {
			for _, e := range got.Edges {
				require.Contains(t, ids, e.Source)
				require.Contains(t, ids, e.Target)
				reached[e.Target] = reached[e.Target] || reached[e.Source]
				require.Equal(t, e.Source == "answer", e.Conditional, "%s → %s", e.Source, e.Target)
				last = e.Target
			}
		}
		require.NotEmpty(t, last)
		require.Len(t, reached, len(ids), "each node is reached from the start: %s", query)
	}
}

func TestAnAssistantsSchemasAreThoseOfItsGraph(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{mirror(t)}})
	key := memberKey(s)
	type schema struct {
		Type       string
		Properties map[string]jsonMap
		Required   []string
	}
	type schemas struct {
		GraphID string `json:"graph_id"`
		Input   schema `json:"input_schema"`
		Output  schema `json:"output_schema"`
		State   schema `json:"state_schema"`
		Config  schema `json:"config_schema"`
		Context schema `json:"context_schema"`
	}
	got := toldBy[schemas](t, s, key, http.StatusOK, "GET", "/assistants/mirror/schemas", nil)
	require.Equal(t, "mirror", got.GraphID)
	require.Equal(t, []string{"messages"}, toldBy[schemas](t, s, key, http.StatusOK, "GET", "/assistants/echo/schemas", nil).Input.Required)
	require.Empty(t, got.Input.Required, "another channel will do")
	for _, state := range []schema{got.Input, got.Output, got.State} {
		require.Len(t, state.Properties, 2, "what is private is not told")
		require.Equal(t, jsonMap{"type": []any{"null", "array"}, "items": jsonMap{"type": "string"}}, state.Properties["notes"])
		require.Equal(t, "array", state.Properties["messages"]["type"])
	}
	require.Equal(t, schema{Type: "object", Properties: map[string]jsonMap{"locale": {"type": "string"}}, Required: []string{"locale"}}, got.Context)
	require.Equal(t, 2.0, got.Config.Properties["temperature"]["maximum"])
	require.Equal(t, 0.7, got.Config.Properties["temperature"]["default"])
	require.Contains(t, got.Config.Properties["tools"]["items"].(jsonMap)["enum"], "send_email")
	require.Contains(t, got.Config.Properties["model"]["examples"], "mock")

	for query, want := range map[string]map[string]string{
		"":                             {"branch": "branch"},
		"?recurse=true":                {"branch": "branch", "branch|leaf": "leaf"},
		"/branch":                      {"branch": "branch"},
		"/branch?recurse=true":         {"branch": "branch", "branch|leaf": "leaf"},
		"/branch%7Cleaf?recurse=true":  {"branch|leaf": "leaf"},
		"/branch%7Cleaf?recurse=false": {"branch|leaf": "leaf"},
		"/nothing?recurse=true":        {},
	} {
		found := toldBy[map[string]schemas](t, s, key, http.StatusOK, "GET", "/assistants/mirror/subgraphs"+query, nil)
		names := map[string]string{}
		for ns, one := range found {
			names[ns] = one.GraphID
		}
		require.Equal(t, want, names, query)
	}
	leaf := toldBy[map[string]schemas](t, s, key, http.StatusOK, "GET", "/assistants/mirror/subgraphs?recurse=1", nil)["branch|leaf"]
	require.Equal(t, jsonMap{"type": "number"}, leaf.State.Properties["depth"])
	require.Equal(t, jsonMap{}, toldBy[jsonMap](t, s, key, http.StatusOK, "GET", "/assistants/echo/subgraphs", nil))
}

func TestMembersReadAssistantsAndThoseWhoManageThemChangeThem(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	made := toldBy[jsonMap](t, s, managerKey(s), http.StatusOK, "POST", "/assistants", jsonMap{"graph_id": "chat"})
	at := "/assistants/" + made["assistant_id"].(string)
	for who, key := range map[string]string{"member": memberKey(s), "a key without the scope": s.Key("acme", "ada@acme.test", auth.ScopeRun)} {
		for _, path := range []string{at, at + "/graph", at + "/schemas", at + "/subgraphs"} {
			toldBy[jsonMap](t, s, key, http.StatusOK, "GET", path, nil)
		}
		toldBy[[]jsonMap](t, s, key, http.StatusOK, "POST", at+"/versions", jsonMap{})
		toldBy[[]jsonMap](t, s, key, http.StatusOK, "POST", "/assistants/search", jsonMap{})
		for call, body := range map[[2]string]jsonMap{
			{"POST", "/assistants"}: {"graph_id": "chat"}, {"PATCH", at}: {"name": "x"}, {"DELETE", at}: {}, {"POST", at + "/latest"}: {"version": 1}} {
			require.Contains(t, toldBy[jsonMap](t, s, key, http.StatusForbidden, call[0], call[1], body)["detail"], "assistant.manage", who)
		}
	}
	foreign := s.Key("globex", "gus@globex.test", auth.KeyScopes()...)
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		var body any
		if method != "GET" {
			body = jsonMap{}
		}
		theirs := s.API(foreign, method, "/api"+at, body)
		require.Equal(t, http.StatusNotFound, theirs.Status)
		require.Equal(t, s.API(foreign, method, "/api/assistants/"+id.New(), body).Body, theirs.Body)
	}
	require.Equal(t, http.StatusUnauthorized, s.API("hdl_none", "GET", "/api"+at, nil).Status)
	require.Equal(t, 1.0, toldBy[jsonMap](t, s, memberKey(s), http.StatusOK, "GET", at, nil)["version"])
}
