package app_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/testweb"
	"github.com/heddle/heddle/outbound/webhook"
)

// quickPace makes attempts without long pauses.
func quickPace() webhook.Pace {
	return webhook.Pace{Attempts: 4, First: 10 * time.Millisecond, Timeout: 2 * time.Second}
}

// told is what a receiver got.
type told struct {
	header http.Header
	raw    string
	body   struct {
		RunID      string `json:"run_id"`
		ThreadID   string `json:"thread_id"`
		Status     string
		Values     map[string]json.RawMessage
		Error      *struct{ Code, Message string }
		Metadata   map[string]string
		StartedAt  time.Time `json:"run_started_at"`
		EndedAt    time.Time `json:"run_ended_at"`
		SentAt     time.Time `json:"webhook_sent_at"`
		Assistant  string    `json:"assistant_id"`
		Cancelling string    `json:"cancel_reason"`
	}
}

func (n told) id() string { return n.header.Get("webhook-id") }

// receiver is another server. It answers the nth request by answer.
type receiver struct {
	*httptest.Server
	t    *testing.T
	mu   sync.Mutex
	all  []told
	next func(n int, w http.ResponseWriter, r *http.Request)
}

func receive(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	t.Helper()
	r := &receiver{t: t, next: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		raw, err := io.ReadAll(req.Body)
		n := told{header: req.Header.Clone(), raw: string(raw)}
		if err == nil {
			err = json.Unmarshal(raw, &n.body)
		}
		if err != nil || req.Method != http.MethodPost {
			t.Errorf("%s %s: %v", req.Method, raw, err)
		}
		r.mu.Lock()
		r.all = append(r.all, n)
		count := len(r.all)
		r.mu.Unlock()
		if r.next != nil {
			r.next(count, w, req)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) got() []told {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]told(nil), r.all...)
}

type delivery struct {
	ID       string `json:"delivery_id"`
	RunID    string `json:"run_id"`
	Status   string
	Attempts int
	Answer   *int    `json:"last_status"`
	Failure  *string `json:"last_error"`
}

// hooks is a server whose runs tell a receiver.
type hooks struct {
	*testweb.Server
	t          *testing.T
	mia, admin string
}

func withHooks(t *testing.T, o testweb.Options) hooks {
	t.Helper()
	if o.WebhookPace == (webhook.Pace{}) {
		o.WebhookPace = quickPace()
	}
	s := testweb.Start(t, o)
	return hooks{s, t, s.Key("acme", "mia@acme.test"), s.Key("acme", "ada@acme.test", auth.ScopeAdmin)}
}

// start begins a run on a thread of its own and gives its id.
func (h hooks) start(graph, url string) (thread, run string) {
	h.t.Helper()
	var made struct {
		ThreadID string `json:"thread_id"`
		RunID    string `json:"run_id"`
	}
	a := h.API(h.mia, "POST", "/api/threads", map[string]any{})
	require.Equal(h.t, http.StatusOK, a.Status, a.Body)
	a.JSON(h.t, &made)
	a = h.API(h.mia, "POST", "/api/threads/"+made.ThreadID+"/runs", hookedRun(graph, url))
	require.Equal(h.t, http.StatusOK, a.Status, a.Body)
	a.JSON(h.t, &made)
	return made.ThreadID, made.RunID
}

func hookedRun(graph, url string) map[string]any {
	return map[string]any{"assistant_id": graph, "webhook": url, "metadata": map[string]any{"tag": "mine"},
		"input": map[string]any{"messages": []map[string]any{{"role": "user", "content": "hello"}}}}
}

func (h hooks) deliveries(status string) []delivery {
	h.t.Helper()
	a := h.API(h.admin, "GET", "/api/webhooks/deliveries?limit=100&status="+status, nil)
	require.Equal(h.t, http.StatusOK, a.Status, a.Body)
	var out []delivery
	a.JSON(h.t, &out)
	return out
}

// settled waits until there is one delivery with a status.
func (h hooks) settled(status string) delivery {
	h.t.Helper()
	var found []delivery
	h.Eventually("a delivery is "+status, func() bool {
		found = h.deliveries(status)
		return len(found) > 0
	})
	require.Len(h.t, found, 1)
	return found[0]
}

func (h hooks) secret() string {
	h.t.Helper()
	a := h.API(h.admin, "GET", "/api/webhooks/secret", nil)
	require.Equal(h.t, http.StatusOK, a.Status, a.Body)
	var out struct{ Secret string }
	a.JSON(h.t, &out)
	return out.Secret
}

// signedWith computes a signature as any receiver would.
func signedWith(t *testing.T, n told, secret string) bool {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	require.NoError(t, err)
	require.Len(t, key, 32)
	mac := hmac.New(sha256.New, key)
	_, _ = io.WriteString(mac, n.id()+"."+n.header.Get("webhook-timestamp")+"."+n.raw)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, signature := range strings.Split(n.header.Get("webhook-signature"), " ") {
		if hmac.Equal([]byte(signature), []byte(want)) {
			return true
		}
	}
	return false
}

func TestAWebhookIsToldHowARunEndedOnceAndSigned(t *testing.T) {
	t.Parallel()
	h := withHooks(t, testweb.Options{})
	r := receive(t, nil)
	thread, run := h.start("echo", r.URL+"/in?x=1")
	d := h.settled("delivered")
	require.Equal(t, run, d.RunID)
	require.Equal(t, 1, d.Attempts)
	require.Equal(t, http.StatusOK, *d.Answer)
	require.Nil(t, d.Failure)
	got := r.got()
	require.Len(t, got, 1)
	n := got[0]
	require.Equal(t, d.ID, n.id())
	require.Equal(t, "application/json", n.header.Get("Content-Type"))
	require.True(t, signedWith(t, n, h.secret()))
	require.Equal(t, run, n.body.RunID)
	require.Equal(t, thread, n.body.ThreadID)
	require.Equal(t, "success", n.body.Status)
	require.Nil(t, n.body.Error)
	require.Equal(t, "mine", n.body.Metadata["tag"])
	require.Contains(t, string(n.body.Values["messages"]), "echo: hello")
	require.False(t, n.body.StartedAt.IsZero())
	require.False(t, n.body.EndedAt.Before(n.body.StartedAt))
	require.False(t, n.body.SentAt.Before(n.body.EndedAt))

	// A run without one tells nobody.
	a := h.API(h.mia, "POST", "/api/threads/"+thread+"/runs/wait", hookedRun("echo", ""))
	require.Equal(t, http.StatusOK, a.Status)
	require.Len(t, h.deliveries(""), 1)
}

func TestAWebhookIsToldOfEveryKindOfEnd(t *testing.T) {
	t.Parallel()
	h := withHooks(t, testweb.Options{})
	r := receive(t, nil)
	_, failing := h.start("failing", r.URL)
	asking, approval := h.start("approval", r.URL)
	thread, slow := h.start("slow", r.URL)
	h.Eventually("it runs", func() bool {
		return strings.Contains(h.API(h.mia, "GET", "/api/threads/"+thread+"/runs/"+slow, nil).Body, `"running"`)
	})
	require.Less(t, h.API(h.mia, "POST", "/api/threads/"+thread+"/runs/"+slow+"/cancel?wait=1", nil).Status, 300)
	a := h.API(h.mia, "POST", "/api/runs", hookedRun("echo", r.URL)) // its thread goes with it
	require.Equal(t, http.StatusOK, a.Status, a.Body)
	var stateless struct {
		RunID string `json:"run_id"`
	}
	a.JSON(t, &stateless)

	h.Eventually("all are told", func() bool { return len(r.got()) >= 4 })
	byRun := map[string]told{}
	for _, n := range r.got() {
		byRun[n.body.RunID] = n
	}
	require.Len(t, byRun, 4)
	require.Equal(t, "error", byRun[failing].body.Status)
	require.Contains(t, byRun[failing].body.Error.Message, "boom")
	require.Equal(t, "success", byRun[approval].body.Status)
	require.Contains(t, string(byRun[approval].body.Values["__interrupt__"]), "action_requests")
	require.Equal(t, "interrupted", byRun[slow].body.Status)
	require.NotEmpty(t, byRun[slow].body.Cancelling)
	require.Equal(t, "success", byRun[stateless.RunID].body.Status)
	require.Contains(t, string(byRun[stateless.RunID].body.Values["messages"]), "echo: hello")

	// Whoever goes on from a pause tells the same receiver of it, as a run of its own.
	a = h.API(h.mia, "POST", "/api/threads/"+asking+"/runs/wait", map[string]any{"assistant_id": "approval", "command": map[string]any{"resume": "yes"}})
	require.Equal(t, http.StatusOK, a.Status, a.Body)
	h.Eventually("the run that went on is told", func() bool { return len(r.got()) >= 5 })
	last := r.got()[4]
	require.Equal(t, asking, last.body.ThreadID)
	require.NotEqual(t, approval, last.body.RunID)
	require.Equal(t, "success", last.body.Status)
	require.NotContains(t, last.body.Values, "__interrupt__")
	h.Eventually("all are delivered", func() bool { return len(h.deliveries("delivered")) == 5 })
	require.Len(t, r.got(), 5, "none was told twice")
}

func TestAReceiverThatFailsAndHangsIsToldAgainThenLeft(t *testing.T) {
	t.Parallel()
	h := withHooks(t, testweb.Options{WebhookPace: webhook.Pace{Attempts: 4, First: 10 * time.Millisecond, Timeout: 300 * time.Millisecond}})
	hang := make(chan struct{})
	r := receive(t, func(n int, w http.ResponseWriter, req *http.Request) {
		switch n {
		case 1:
			w.WriteHeader(http.StatusInternalServerError)
		case 2:
			select {
			case <-req.Context().Done():
			case <-hang:
			}
		case 3:
			http.Redirect(w, req, "/elsewhere", http.StatusTemporaryRedirect)
		case 4:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	defer close(hang)
	h.start("echo", r.URL)
	d := h.settled("dead")
	require.Equal(t, 4, d.Attempts)
	require.Equal(t, http.StatusServiceUnavailable, *d.Answer)
	require.Equal(t, "The receiver answered 503.", *d.Failure)
	got := r.got()
	require.Len(t, got, 4, "the redirect was not followed")
	for _, n := range got {
		require.Equal(t, d.ID, n.id(), "one id for all attempts")
		require.True(t, signedWith(t, n, h.secret()))
	}

	// Somebody mends the receiver and puts the delivery back in line.
	require.Equal(t, http.StatusForbidden, h.API(h.mia, "POST", "/api/webhooks/deliveries/"+d.ID+"/requeue", nil).Status)
	a := h.API(h.admin, "POST", "/api/webhooks/deliveries/"+d.ID+"/requeue", nil)
	require.Equal(t, http.StatusOK, a.Status, a.Body)
	again := h.settled("delivered")
	require.Equal(t, d.ID, again.ID)
	require.Equal(t, 1, again.Attempts)
	got = r.got()
	require.Len(t, got, 5)
	require.Equal(t, d.ID, got[4].id())
	require.Empty(t, h.deliveries("dead"))
}

func TestAReceiverThatWantsNoMoreIsToldOnce(t *testing.T) {
	t.Parallel()
	h := withHooks(t, testweb.Options{})
	r := receive(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	h.start("echo", r.URL)
	d := h.settled("dead")
	require.Equal(t, 1, d.Attempts)
	require.Equal(t, http.StatusGone, *d.Answer)
	require.Len(t, r.got(), 1)
}

// TestWhatWasNotSentIsSentByAnotherProcess stops the node whose receiver was away;
// another one sends it, with the same id.
func TestWhatWasNotSentIsSentByAnotherProcess(t *testing.T) {
	t.Parallel()
	first := withHooks(t, testweb.Options{WebhookPace: webhook.Pace{Attempts: 9, First: time.Second, Timeout: time.Second}})
	var mu sync.Mutex
	up := false
	r := receive(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if !up {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	_, run := first.start("echo", r.URL)
	first.Eventually("it was tried", func() bool { return len(r.got()) > 0 })
	first.Stop()
	before := len(r.got())
	mu.Lock()
	up = true
	mu.Unlock()
	second := withHooks(t, testweb.Options{DatabaseURL: first.DatabaseURL, RedisURL: first.RedisURL})
	third := withHooks(t, testweb.Options{DatabaseURL: first.DatabaseURL, RedisURL: first.RedisURL})
	d := second.settled("delivered")
	require.Equal(t, run, d.RunID)
	got := r.got()
	require.Len(t, got, before+1, "one of the two sent it, once")
	require.Equal(t, got[0].id(), got[before].id())
	require.Equal(t, got[0].body.Values, got[before].body.Values)
	require.Equal(t, second.secret(), third.secret())
	require.True(t, signedWith(t, got[before], third.secret()))
}

func TestTargetsThatMustNotBeReachedAreRefused(t *testing.T) {
	t.Parallel()
	inside := receive(t, nil)
	h := withHooks(t, testweb.Options{Env: []string{"HEDDLE_EGRESS_ALLOW=none"}})
	for _, url := range []string{inside.URL, "http://localhost:8080/", "http://LOCALHOST./", "https://10.0.0.7/in", "http://[::1]/", "http://[::ffff:169.254.169.254]/latest",
		"http://169.254.169.254/", "http://2130706433/", "http://0x7f.1/", "ftp://example.com/", "file:///etc/passwd", "https://user:secret@example.com/",
		"//example.com/in", "example.com", "https://", "http://8.8.8.8:22/", "https://example.com:0/", "javascript:alert(1)", "https://" + strings.Repeat("x", 2100)} {
		for _, path := range []string{"/api/runs", "/api/runs/wait"} {
			a := h.API(h.mia, "POST", path, hookedRun("echo", url))
			require.Equal(t, http.StatusUnprocessableEntity, a.Status, "%s: %s", url, a.Body)
			require.Contains(t, a.Body, `"webhook"`, url)
		}
	}
	require.Empty(t, h.deliveries(""))

	// A name is judged by where it leads, when it is reached.
	_, run := h.start("echo", "http://heddle.invalid/in")
	h.Eventually("the name leads nowhere", func() bool {
		found := h.deliveries("dead")
		return len(found) == 1 && found[0].RunID == run && found[0].Attempts == 4
	})
	require.Empty(t, inside.got())
}

func TestARefusedTargetIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	r := receive(t, nil)
	allowed := withHooks(t, testweb.Options{Env: []string{"HEDDLE_WORKER=off"}})
	allowed.start("echo", r.URL)
	// The operator takes the exception away before it is sent.
	strict := withHooks(t, testweb.Options{DatabaseURL: allowed.DatabaseURL, RedisURL: allowed.RedisURL, Env: []string{"HEDDLE_EGRESS_ALLOW=none"}})
	d := strict.settled("dead")
	require.Equal(t, 1, d.Attempts)
	require.Nil(t, d.Answer)
	require.Contains(t, *d.Failure, "not on the public internet")
	require.Empty(t, r.got())
}

func TestWebhooksCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	h := withHooks(t, testweb.Options{Env: []string{"HEDDLE_WEBHOOKS=off"}})
	r := receive(t, nil)
	a := h.API(h.mia, "POST", "/api/runs/wait", hookedRun("echo", r.URL))
	require.Equal(t, http.StatusUnprocessableEntity, a.Status)
	require.Contains(t, a.Body, "HEDDLE_WEBHOOKS")
	require.Equal(t, http.StatusOK, h.API(h.mia, "POST", "/api/runs/wait", hookedRun("echo", "")).Status)
}

func TestTheSecretIsShownToAdminsAndChanged(t *testing.T) {
	t.Parallel()
	h := withHooks(t, testweb.Options{})
	chatOnly := h.Key("acme", "ada@acme.test")
	for _, key := range []string{h.mia, chatOnly} {
		require.Equal(t, http.StatusForbidden, h.API(key, "GET", "/api/webhooks/secret", nil).Status)
		require.Equal(t, http.StatusForbidden, h.API(key, "POST", "/api/webhooks/secret/rotate", nil).Status)
		require.Equal(t, http.StatusForbidden, h.API(key, "GET", "/api/webhooks/deliveries", nil).Status)
	}
	old := h.secret()
	require.Equal(t, old, h.secret())
	gus := h.Key("globex", "gus@globex.test", auth.ScopeAdmin)
	require.NotContains(t, h.API(gus, "GET", "/api/webhooks/secret", nil).Body, old)

	a := h.API(h.admin, "POST", "/api/webhooks/secret/rotate", nil)
	require.Equal(t, http.StatusOK, a.Status, a.Body)
	require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
	var renewed struct {
		Secret  string
		Secrets []struct {
			Secret string
			EndsAt *time.Time `json:"ends_at"`
		}
	}
	a.JSON(t, &renewed)
	require.NotEqual(t, old, renewed.Secret)
	require.Len(t, renewed.Secrets, 2)
	require.Equal(t, old, renewed.Secrets[1].Secret)
	require.Nil(t, renewed.Secrets[0].EndsAt)
	require.WithinDuration(t, time.Now().Add(24*time.Hour), *renewed.Secrets[1].EndsAt, time.Minute)

	r := receive(t, nil)
	h.start("echo", r.URL)
	h.settled("delivered")
	n := r.got()[0]
	require.True(t, signedWith(t, n, old), "whoever has not changed yet")
	require.True(t, signedWith(t, n, renewed.Secret))
	require.False(t, signedWith(t, n, webhook.NewSecret().Reveal()))
	n.raw = strings.Replace(n.raw, "success", "failure", 1)
	require.False(t, signedWith(t, n, renewed.Secret))
}

func TestDeliveriesAreListedInPieces(t *testing.T) {
	t.Parallel()
	h := withHooks(t, testweb.Options{})
	r := receive(t, nil)
	for range 3 {
		h.start("echo", r.URL)
	}
	h.Eventually("all are delivered", func() bool { return len(h.deliveries("delivered")) == 3 })
	a := h.API(h.admin, "GET", "/api/webhooks/deliveries?limit=2", nil)
	require.Equal(t, "3", a.Header.Get("X-Pagination-Total"))
	require.Equal(t, "2", a.Header.Get("X-Pagination-Next"))
	for _, query := range []string{"status=x", "limit=0", "limit=x", "offset=-1"} {
		require.Equal(t, http.StatusUnprocessableEntity, h.API(h.admin, "GET", "/api/webhooks/deliveries?"+query, nil).Status, query)
	}
	for _, unknown := range []string{"x", "0198c5b0-0000-7000-8000-000000000000"} {
		require.Equal(t, http.StatusNotFound, h.API(h.admin, "POST", "/api/webhooks/deliveries/"+unknown+"/requeue", nil).Status)
	}
}

func TestAttemptsUnderWayAreFewAndAreFinishedAtTheEnd(t *testing.T) {
	t.Parallel()
	h := withHooks(t, testweb.Options{WebhookPace: webhook.Pace{Attempts: 1, First: time.Second, Timeout: 30 * time.Second}})
	release := make(chan struct{})
	end := sync.OnceFunc(func() { close(release) })
	r := receive(t, func(_ int, w http.ResponseWriter, _ *http.Request) { <-release })
	defer end()
	for range 12 {
		h.start("echo", r.URL)
	}
	h.Eventually("the first are under way", func() bool { return len(r.got()) == 8 })
	h.Eventually("the others wait", func() bool { return len(h.deliveries("pending")) == 12 })
	require.Len(t, r.got(), 8)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		h.Stop()
	}()
	select {
	case <-stopped:
		require.Fail(t, "the server stopped in the middle of an attempt")
	case <-time.After(200 * time.Millisecond):
	}
	end()
	<-stopped
	require.Len(t, r.got(), 8)
	rest := withHooks(t, testweb.Options{DatabaseURL: h.DatabaseURL, RedisURL: h.RedisURL})
	rest.Eventually("the next process sends the rest", func() bool { return len(rest.deliveries("delivered")) == 12 })
	seen := map[string]bool{}
	for _, n := range r.got() {
		seen[n.id()] = true
	}
	require.Len(t, seen, 12)
	require.Len(t, r.got(), 12)
}
