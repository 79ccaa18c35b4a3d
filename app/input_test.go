package app_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
	"github.com/heddle/heddle/realtime/socket"
)

func TestAMessageThatBreaksARuleGetsTheSameAnswerEverywhere(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	key := s.Key("acme", "mia@acme.test")
	token := s.CSRF(mia)
	for name, c := range map[string]struct {
		text, rule string
	}{
		"Empty":            {"", "must not be empty"},
		"Blank":            {" \t\r\n\u00a0\u200b ", "must not be empty"},
		"TenThousand":      {strings.Repeat("ä", agents.MaxMessageRunes), ""},
		"TenThousandWide":  {strings.Repeat("🧵", agents.MaxMessageRunes), ""},
		"OneTooMany":       {strings.Repeat("ä", agents.MaxMessageRunes+1), "must be at most 10,000 characters; this one has 10001"},
		"OneTooManyOfFour": {strings.Repeat("🧵", agents.MaxMessageRunes+1), "must be at most 10,000 characters; this one has 10001"},
		"NUL":              {"a\x00b", "must not contain NUL characters"},
		"InvalidUTF8":      {"a\xff\xfeb", "must be valid UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			thread := s.NewThread(mia, "first")
			s.WaitIdle(mia, thread)
			before := len(stateOf(t, s.Site, key, thread).Messages)
			for _, action := range []string{"/threads", "/threads/" + thread + "/messages"} {
				form := url.Values{"_csrf": {token}, "message": {c.text}, "assistant_id": {"echo"}}
				a := s.Post(mia, action, form)
				asked := s.Do(mia, "POST", action, []byte(form.Encode()), "Content-Type", "application/x-www-form-urlencoded", "Accept", "application/json")
				if c.rule == "" {
					require.Equal(t, http.StatusOK, a.Status)
					require.Equal(t, http.StatusOK, asked.Status)
					continue
				}
				require.Equal(t, http.StatusUnprocessableEntity, a.Status)
				page := s.PageOf(a)
				require.Contains(t, page.Text("#composer-error"), c.rule)
				if name != "InvalidUTF8" && name != "NUL" { // what HTML can carry comes back as it was
					require.Equal(t, strings.ReplaceAll(c.text, "\r\n", "\n"), page.Find("#composer-text").Text(), "nothing typed is lost")
				}
				require.Equal(t, http.StatusUnprocessableEntity, asked.Status)
				require.Contains(t, asked.Body, c.rule)
				require.Contains(t, asked.Body, `"fields":{"message":`)
			}
			if c.rule == "" {
				return
			}
			a := s.API(key, "POST", "/api/threads/"+thread+"/runs", apiInput(c.text))
			require.Equal(t, http.StatusUnprocessableEntity, a.Status, a.Body)
			require.Contains(t, a.Body, c.rule)
			if name == "InvalidUTF8" {
				require.Contains(t, a.Body, `"body"`, "the text can't be told from one with replacement characters")
			} else {
				require.Contains(t, a.Body, "input.messages[0].content")
				k := s.Dial(mia)
				join := k.Join("thread:"+thread, map[string]any{})
				if len(c.text) < 60_000 { // else the frame is too large before anyone looks inside
					r := k.Push(join, "thread:"+thread, "send", map[string]any{"text": c.text})
					require.Equal(t, "error", r.Status)
					require.Equal(t, "text: "+c.rule, r.Reason())
				}
			}
			require.Len(t, stateOf(t, s.Site, key, thread).Messages, before, "nothing was posted")
		})
	}
}

func apiInput(content string) []byte {
	quoted := strings.NewReplacer("\x00", `\u0000`, "\t", `\t`, "\r", `\r`, "\n", `\n`).Replace(content)
	return []byte(`{"assistant_id":"echo","input":{"messages":[{"role":"user","content":"` + quoted + `"}]}}`)
}

func TestTheAPINamesTheFieldThatIsWrong(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	key := s.Key("acme", "mia@acme.test")
	var made struct {
		ID string `json:"thread_id"`
	}
	s.API(key, "POST", "/api/threads", nil).JSON(t, &made)
	thread := "/api/threads/" + made.ID
	good := `"input":{"messages":[{"role":"user","content":"hi"}]}`
	run := func(more string) string { return `{"assistant_id":"echo",` + good + `,` + more + `}` }
	for name, c := range map[string]struct {
		path, body string
		status     int
		detail     string
	}{
		"NoJSON":             {thread + "/runs", `{`, 422, "body: must be JSON"},
		"List":               {thread + "/runs", `[]`, 422, "body: must be a JSON object"},
		"Text":               {thread + "/runs", `"x"`, 422, "body: must be a JSON object"},
		"Null":               {thread + "/runs", `null`, 422, "assistant_id: is required"},
		"Nothing":            {thread + "/runs", ``, 422, "assistant_id: is required"},
		"AssistantType":      {thread + "/runs", `{"assistant_id":5}`, 422, "assistant_id: must be a string, not number"},
		"AssistantUnknown":   {thread + "/runs", `{"assistant_id":"nobody",` + good + `}`, 404, "Assistant not found"},
		"AssistantUnknownId": {thread + "/runs", `{"assistant_id":"` + id.New() + `",` + good + `}`, 404, "Assistant not found"},
		"AssistantNUL":       {thread + "/runs", `{"assistant_id":"a\u0000",` + good + `}`, 422, "NUL"},
		"NoInput":            {thread + "/runs", `{"assistant_id":"echo"}`, 422, "input: is required"},
		"InputType":          {thread + "/runs", `{"assistant_id":"echo","input":5}`, 422, "input: must be an object"},
		"NoMessages":         {thread + "/runs", `{"assistant_id":"echo","input":{}}`, 422, "input.messages: must hold at least one message"},
		"EmptyMessages":      {thread + "/runs", `{"assistant_id":"echo","input":{"messages":[]}}`, 422, "input.messages: must hold at least one message"},
		"NullMessages":       {thread + "/runs", `{"assistant_id":"echo","input":{"messages":null}}`, 422, "input.messages: must hold at least one message"},
		"MessageType":        {thread + "/runs", `{"assistant_id":"echo","input":{"messages":[{"type":"cat","content":"x"}]}}`, 422, "input.messages[0]: must have a type"},
		"ContentType":        {thread + "/runs", `{"assistant_id":"echo","input":{"messages":[{"type":"human","content":5}]}}`, 422, "input.messages[0].content: must be text or a list of blocks"},
		"LongMessageId":      {thread + "/runs", `{"assistant_id":"echo","input":{"messages":[{"type":"human","content":"x","id":"` + strings.Repeat("i", 201) + `"}]}}`, 422, "input.messages[0].id: must be at most 200"},
		"EndsWithTheModel":   {thread + "/runs", `{"assistant_id":"echo","input":{"messages":[{"type":"human","content":"x"},{"type":"ai","content":"y"}]}}`, 422, "input.messages: must end with a message of the human"},
		"ConfigType":         {thread + "/runs", run(`"config":5`), 422, "config: must be an object"},
		"Hot":                {thread + "/runs", run(`"config":{"configurable":{"temperature":2.1}}`), 422, "config.configurable.temperature: must be between 0 and 2"},
		"Cold":               {thread + "/runs", run(`"config":{"configurable":{"temperature":-0.1}}`), 422, "config.configurable.temperature: must be between 0 and 2"},
		"FewTokens":          {thread + "/runs", run(`"config":{"configurable":{"max_tokens":99}}`), 422, "config.configurable.max_tokens: must be between 100 and 10000"},
		"ManyTokens":         {thread + "/runs", run(`"config":{"configurable":{"max_tokens":10001}}`), 422, "config.configurable.max_tokens: must be between 100 and 10000"},
		"StrategyUnknown":    {thread + "/runs", run(`"multitask_strategy":"hope"`), 422, "multitask_strategy: must be one of"},
		"StrategyNested":     {thread + "/runs", run(`"config":{"configurable":{"multitask_strategy":"hope"}}`), 422, "multitask_strategy: must be one of"},
		"IfNotExists":        {thread + "/runs", run(`"if_not_exists":"maybe"`), 422, "if_not_exists: must be reject or create"},
		"OnDisconnect":       {thread + "/runs/wait", run(`"on_disconnect":"shrug"`), 422, "on_disconnect: must be cancel or continue"},
		"Metadata":           {thread + "/runs", run(`"metadata":[]`), 422, "metadata: must be an object"},
		"MetadataNUL":        {thread + "/runs", run(`"metadata":{"a":"\u0000"}`), 422, "NUL"},
		"KeyNUL":             {thread + "/runs", run(`"metadata":{"\u0000":1}`), 422, "NUL"},
		"ConfigNUL":          {thread + "/runs", run(`"config":{"configurable":{"x":"\u0000"}}`), 422, "NUL"},
		"HalfASurrogate":     {thread + "/runs", run(`"metadata":{"a":"\ud83e"}`), 422, "surrogate"},
		"OtherHalf":          {thread + "/runs", run(`"metadata":{"a":"\udde5\ud83e"}`), 422, "surrogate"},
		"InvalidUTF8":        {thread + "/runs", run("\"metadata\":{\"a\":\"\xff\"}"), 422, "must be valid UTF-8"},
		"HugeNumber":         {thread + "/runs", run(`"metadata":{"a":1e999999}`), 422, "number"},
		"TinyNumber":         {thread + "/runs", run(`"metadata":{"a":1e-99999}`), 422, "number"},
		"LongNumber":         {thread + "/runs", run(`"metadata":{"a":0.` + strings.Repeat("1", 20000) + `}`), 422, "number"},
		"Deep":               {thread + "/runs", run(`"metadata":{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`), 422, "nested deeper"},
		"ThreadId":           {"/api/threads", `{"thread_id":"x"}`, 422, "thread_id: must be a UUID"},
		"ThreadIdType":       {"/api/threads", `{"thread_id":7}`, 422, "thread_id: must be a string, not number"},
		"ThreadMetadata":     {"/api/threads", `{"metadata":"x"}`, 422, "metadata: must be an object"},
		"ThreadMetadataNUL":  {"/api/threads", `{"metadata":{"a":"\u0000"}}`, 422, "NUL"},
		"IfExists":           {"/api/threads", `{"if_exists":"maybe"}`, 422, "if_exists: must be raise or do_nothing"},
		"ThreadTwice":        {"/api/threads", `{"thread_id":"` + made.ID + `"}`, 409, "A thread with this id exists already."},
		"NoSuchRoute":        {"/api/nothing", `{}`, 404, "not found"},
		"CancelAction":       {thread + "/runs/" + id.New() + "/cancel?action=drop", ``, 422, "action: must be interrupt or rollback"},
		"CancelNoRun":        {thread + "/runs/" + id.New() + "/cancel", ``, 404, "Run not found"},
		"ToolArgsNUL":        {thread + "/runs", `{"assistant_id":"echo","input":{"messages":[{"type":"ai","content":"","tool_calls":[{"id":"1","name":"x","args":{"a":"\u0000"}}]},{"type":"human","content":"x"}]}}`, 422, "NUL"},
		"SystemMessageNUL":   {thread + "/runs", `{"assistant_id":"echo","input":{"messages":[{"type":"system","content":"\u0000"},{"type":"human","content":"x"}]}}`, 422, "NUL"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.API(key, "POST", c.path, []byte(c.body))
			require.Equal(t, c.status, a.Status, a.Body)
			var answer map[string]any
			a.JSON(t, &answer)
			require.Contains(t, answer["detail"], c.detail)
		})
	}
	view, err := s.App.Database().View(t.Context(), s.Scope("acme", "mia@acme.test"), threadID(made.ID))
	require.NoError(t, err)
	require.Nil(t, view.Latest, "none of these made a run")
	require.Empty(t, view.Open)
	require.Zero(t, view.Head.Seq)
}

func TestARequestThatIsTooLargeIsRefusedBeforeItsBody(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /api/threads HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\nContent-Type: application/json\r\nContent-Length: 2097152\r\n\r\n",
		s.Key("acme", "mia@acme.test"))
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
	require.JSONEq(t, `{"detail":"The request is larger than this server takes."}`, string(body))
}

func TestTheAPITakesWhatTheContractIsLenientAbout(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	key := s.Key("acme", "mia@acme.test")
	thread := id.New()
	a := s.API(key, "POST", "/api/threads/"+strings.ToUpper(thread)+"/runs/wait", []byte(`{"assistant_id":"echo","if_not_exists":"create",
		"input":{"messages":[{"type":"human","content":"a \\u0000 spelled out and \ud83e\uddf5"}]},"unknown":{"field":1},
		"config":{"configurable":{"user_id":"olga","temperature":2,"max_tokens":100,"x":1e20}},"webhook":null}`))
	require.Equal(t, http.StatusOK, a.Status, a.Body)
	require.Contains(t, a.Body, `spelled out and 🧵`)
	run := s.API(key, "GET", "/api"+a.Header.Get("Content-Location"), nil)
	require.Equal(t, http.StatusOK, run.Status)
	require.Contains(t, run.Body, `"unknown"`)
	require.NotContains(t, run.Body, "olga", "identity is never an input")
	for _, spelling := range []string{thread, strings.ToUpper(thread)} {
		require.Equal(t, http.StatusOK, s.API(key, "GET", "/api/threads/"+spelling, nil).Status, spelling)
	}
}

func TestWrongTypesOnTheSocketGetAClearAnswer(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	thread := s.NewThread(mia, "hello")
	s.WaitIdle(mia, thread)
	topic := "thread:" + thread
	k := s.Dial(mia)
	for _, c := range []struct {
		payload any
		reason  string
	}{
		{[]int{}, "payload: must be an object"},
		{map[string]any{"after": "1"}, "after: must be a whole number from 0 on"},
		{map[string]any{"after": -1}, "after: must be a whole number from 0 on"},
		{map[string]any{"epoch": 1}, "epoch: must be a string"},
		{map[string]any{"format": "pdf"}, `format: must be "envelope" or "html"`},
	} {
		_, r := k.TryJoin(topic, c.payload)
		require.Equal(t, "error", r.Status)
		require.Equal(t, c.reason, r.Reason())
	}
	join := k.Join(topic, map[string]any{})
	for _, c := range []struct {
		event   string
		payload any
		reason  string
	}{
		{"send", map[string]any{}, "text: must be a string"},
		{"send", map[string]any{"text": nil}, "text: must be a string"},
		{"send", map[string]any{"text": 5}, "text: must be a string"},
		{"send", map[string]any{"text": "x", "assistant_id": 5}, "assistant_id: must be a string"},
		{"send", map[string]any{"text": "x", "assistant_id": id.New()}, "not found"},
		{"send", map[string]any{"text": "x", "multitask_strategy": 5}, "multitask_strategy: must be a string"},
		{"send", map[string]any{"text": "x", "multitask_strategy": "hope"}, "multitask_strategy: must be one of enqueue, reject, interrupt, rollback"},
		{"cancel", map[string]any{"run_id": 5}, "run_id: must be a string"},
		{"cancel", map[string]any{"run_id": id.New()}, "not found"},
		{"cancel", map[string]any{"run_id": "x"}, "not found"},
		{"dance", map[string]any{}, "event: must be send or cancel"},
	} {
		r := k.Push(join, topic, c.event, c.payload)
		require.Equal(t, "error", r.Status, "%s %v", c.event, c.payload)
		require.Equal(t, c.reason, r.Reason(), "%s %v", c.event, c.payload)
	}
	require.Equal(t, "ok", k.Push(join, topic, "cancel", map[string]any{}).Status, "nothing to stop is no mistake")
	require.Equal(t, 1, s.Page(mia, "/threads/"+thread).Find(".msg-user").Length())
}

func TestAFrameThatIsTooLargeClosesOnlyItsSocket(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	thread := s.NewThread(mia, "hello")
	other, large := s.Dial(mia), s.Dial(mia)
	join := other.Join("thread:"+thread, map[string]any{})
	large.Join("thread:"+thread, map[string]any{})
	large.Raw(`[null,"1","phoenix","heartbeat",{"pad":"` + strings.Repeat("x", 65<<10) + `"}]`)
	code, reason := large.Closed()
	require.Equal(t, socket.CloseTooBig, code)
	require.Contains(t, reason, "65536")
	require.Equal(t, "ok", other.Push(join, "thread:"+thread, "cancel", map[string]any{}).Status)
}

func TestABusyThreadRefusesOnRequestAndItsLineHasABound(t *testing.T) {
	t.Parallel()
	gates, gate := newGates(t)
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{gate}})
	mia := s.SignIn("mia@acme.test")
	key := s.Key("acme", "mia@acme.test")
	thread := startOn(t, s, mia, "gate", "first")
	gates.write(thread, "x")
	topic := "thread:" + thread
	k := s.Dial(mia)
	join := k.Join(topic, map[string]any{})
	body := map[string]any{"assistant_id": "gate", "input": map[string]any{"messages": "now"}, "multitask_strategy": "reject"}
	a := s.API(key, "POST", "/api/threads/"+thread+"/runs", body)
	require.Equal(t, http.StatusConflict, a.Status)
	require.Contains(t, a.Body, "already running")
	r := k.Push(join, topic, "send", map[string]any{"text": "now", "multitask_strategy": "reject"})
	require.Equal(t, "error", r.Status)
	require.Contains(t, r.Reason(), "already running")
	require.Empty(t, queued(s.Page(mia, "/threads/"+thread)))

	for i := range 25 {
		require.Equal(t, "ok", k.Push(join, topic, "send", map[string]any{"text": fmt.Sprint(i)}).Status)
	}
	form := s.Post(mia, "/threads/"+thread+"/messages", url.Values{"message": {"one too many"}})
	require.Equal(t, http.StatusTooManyRequests, form.Status)
	page := s.PageOf(form)
	require.Contains(t, page.Text("#composer-error"), "25 messages waiting")
	require.Equal(t, "one too many", page.Find("#composer-text").Text())
	delete(body, "multitask_strategy")
	require.Equal(t, http.StatusTooManyRequests, s.API(key, "POST", "/api/threads/"+thread+"/runs", body).Status)
	require.Contains(t, k.Push(join, topic, "send", map[string]any{"text": "x"}).Reason(), "25 messages waiting")
	require.Len(t, queued(s.Page(mia, "/threads/"+thread)), 25)
	require.Equal(t, http.StatusOK, s.Post(mia, "/threads/"+thread+"/cancel", nil).Status)
}

func TestAStaleTabOfAnotherOrganisationPostsNothing(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada := s.SignIn("ada@acme.test")
	thread := s.NewThread(ada, "hello")
	s.WaitIdle(ada, thread)
	stale := s.CSRF(ada)
	joinOrg(t, s, "ada@acme.test", "globex")
	target := s.Scope("globex", "ada@acme.test").Org
	require.Equal(t, http.StatusOK, s.Post(ada, "/account/org", url.Values{"org_id": {string(target)}, "return_to": {"/"}}).Status)

	for _, path := range []string{"/threads", "/threads/" + thread + "/messages", "/threads/" + thread + "/delete"} {
		form := url.Values{"_csrf": {stale}, "message": {"wrong house"}}
		a := s.Post(ada, path, form)
		require.Equal(t, http.StatusConflict, a.Status)
		require.Contains(t, s.PageOf(a).Text("main"), "Globex", "the page names the present organisation")
		asked := s.Do(ada, "POST", path, []byte(form.Encode()), "Content-Type", "application/x-www-form-urlencoded", "Accept", "application/json")
		require.Equal(t, http.StatusConflict, asked.Status)
		require.Contains(t, asked.Body, "Globex")
		require.Contains(t, asked.Body, `"code":"org_switched"`)
	}
	require.NotContains(t, s.Get(ada, "/").Body, "wrong house")
	a := s.Do(ada, "POST", "/api/threads", []byte(`{}`), "Content-Type", "application/json", "X-CSRF-Token", stale)
	require.Equal(t, http.StatusConflict, a.Status)
	require.Contains(t, a.Body, "Globex")

	missing := s.Post(ada, "/threads", url.Values{"_csrf": {""}, "message": {"x"}})
	require.Equal(t, http.StatusForbidden, missing.Status)
	foreign := s.Do(ada, "POST", "/threads", []byte("message=x"), "Content-Type", "application/x-www-form-urlencoded",
		"Origin", "https://evil.test", "X-CSRF-Token", s.CSRF(ada))
	require.Equal(t, http.StatusForbidden, foreign.Status)
}

func TestACallbackThatWasUsedOrHasNoStateIsRefused(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	c := s.Stranger()
	var used string
	c.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(req.URL.Path, "/auth/dev/callback") {
			used = req.URL.RequestURI()
		}
		return nil
	}
	require.Equal(t, http.StatusOK, s.Get(c, "/auth/dev?login_hint=mia%40acme.test").Status)
	require.NotEmpty(t, used)
	for _, path := range []string{used, "/auth/dev/callback", "/auth/dev/callback?state=&code=x", "/auth/dev/callback?state=made-up&code=x", "/auth/dev/callback?%zz"} {
		stranger := s.Stranger()
		a := s.Get(stranger, path, "Accept", "text/html")
		require.Equal(t, http.StatusForbidden, a.Status, path)
		require.NotEmpty(t, s.PageOf(a).Text("main"))
		require.Equal(t, "/auth/login", s.Get(stranger, "/", "Accept", "text/html").Path, "nobody is signed in")
	}
	require.Equal(t, http.StatusNotFound, s.Get(c, "/auth/nobody").Status)
}
