package run_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/model/script"
	"github.com/heddle/heddle/agents/prebuilt"
	"github.com/heddle/heddle/agents/review"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// letters is what the model of these tests understands.
const letters = `
rule two
  when two (?P<a>\S+) (?P<b>\S+)
  call send {"to": {{quote .a}}, "subject": "Hi"}
  call send {"to": {{quote .b}}, "subject": "Hi"}
  answer
    | Both done.
  lacking
    | I can't.

rule one
  when mail (?P<to>.+)
  call send {"to": {{quote .to}}, "subject": "Hi"}
  answer
    | Done. {{.result.Content}}
  lacking
    | I can't.
  failed
    | Not done. {{.result.Content}}

rule else
  when (?P<all>.*)
  answer
    | I heard {{.all}}.
`

type letter struct {
	To      string `json:"to"`
	Subject string `json:"subject"`
}

// post is a tool that delivers letters and counts them.
type post struct {
	mu   sync.Mutex
	sent []letter
	// during runs inside a delivery, after it counted.
	during func()
	// unknown makes the tool say that nobody knows; of letters to only, if given.
	unknown atomic.Bool
	only    string
}

func (p *post) letters() []letter {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]letter(nil), p.sent...)
}

// desk is a server whose assistant can send letters, with people of all kinds.
type desk struct {
	*bundle
	post     *post
	ray, max auth.Scope
	// beforeSend runs between the reservation of a call and its sending.
	beforeSend atomic.Pointer[func()]
	// sendFails is what the next sending fails with.
	sendFails atomic.Pointer[error]
	// confirmed, if set, is closed by the next confirmation; nobody reads what is
	// known of calls before that.
	confirmed atomic.Pointer[chan struct{}]
}

// slowLedger is the database, with a moment before each call is sent.
type slowLedger struct {
	review.Ledger
	d *desk
}

func (l slowLedger) SendCall(ctx context.Context, scope auth.Scope, lease agents.Lease, line agents.LineID, call agents.ToolCall, round int) error {
	if f := l.d.beforeSend.Swap(nil); f != nil {
		(*f)()
	}
	if err := l.d.sendFails.Swap(nil); err != nil {
		return *err
	}
	return l.Ledger.SendCall(ctx, scope, lease, line, call, round)
}

func (l slowLedger) ConfirmCall(ctx context.Context, scope auth.Scope, lease agents.Lease, line agents.LineID, call string, round int, result *agents.Message) error {
	err := l.Ledger.ConfirmCall(ctx, scope, lease, line, call, round, result)
	if c := l.d.confirmed.Swap(nil); c != nil {
		close(*c)
	}
	return err
}

func (l slowLedger) CallRecords(ctx context.Context, scope auth.Scope, line agents.LineID, calls []string) (map[string]agents.CallRecord, error) {
	if c := l.d.confirmed.Load(); c != nil {
		select {
		case <-*c:
		case <-ctx.Done():
		}
	}
	return l.Ledger.CallRecords(ctx, scope, line, calls)
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{post: &post{}}
	send, err := tool.New(tool.Spec{Name: "send", Title: "Send a letter", Description: "sends", Effect: tool.EffectOutbound,
		Review: tool.ReviewAlways, Consequence: "One letter."},
		func(_ context.Context, _ tool.Invocation, l letter) (tool.Result, error) {
			d.post.mu.Lock()
			d.post.sent = append(d.post.sent, l)
			during := d.post.during
			d.post.mu.Unlock()
			if during != nil {
				during()
			}
			if d.post.unknown.Load() && (d.post.only == "" || d.post.only == l.To) {
				return tool.Result{Unknown: true}, nil
			}
			return tool.Text("sent to "+l.To, "Sent a letter: "+l.To), nil
		})
	require.NoError(t, err)
	tools, err := tool.NewRegistry(send)
	require.NoError(t, err)
	rules, err := script.Parse("letters", letters)
	require.NoError(t, err)
	mock, err := script.New(script.Options{Script: rules})
	require.NoError(t, err)
	models, err := model.NewRegistry(model.Entry{ID: "mock", Model: mock, Tools: true}, model.Entry{ID: "forgetful", Model: forgetful{}, Tools: true})
	require.NoError(t, err)
	d.bundle = setup(t)
	chat, err := prebuilt.Chat(prebuilt.ChatOptions{Models: models, Tools: tools, Ledger: slowLedger{d.db, d},
		Call: tool.NewDispatcher(tools, tool.DispatcherOptions{})})
	require.NoError(t, err)
	d.graphs["chat"] = chat
	require.NoError(t, d.db.EnsureAssistant(t.Context(), d.scope, agents.Assistant{
		ID: agents.AssistantID(id.New()), Graph: "chat", Name: "Desk", IsDefault: true,
		Config: agents.AssistantConfig{Model: "mock", Tools: []string{"send"}}}))
	d.service = run.NewService(run.Parts{Queue: d.db, Publish: d.hub, Signals: d.hub, Watch: d.hub, Graphs: d.graphs, Tools: tools,
		Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler)})
	d.ray, d.max = d.person(t, "ray", auth.RoleReviewer), d.person(t, "max", auth.RoleMember)
	return d
}

func (d *desk) person(t *testing.T, name string, role auth.Role) auth.Scope {
	t.Helper()
	s := auth.Scope{User: auth.UserID(id.New()), Org: d.scope.Org, Role: role}
	d.sql(t, "heddle_system", fmt.Sprintf("insert into users (id, email) values ('%s', '%s@acme.test')", s.User, name))
	d.sql(t, "heddle_system", fmt.Sprintf("insert into memberships (org_id, user_id, role) values ('%s', '%s', '%s')", s.Org, s.User, role))
	return s
}

func (d *desk) sql(t *testing.T, role, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), d.url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	for _, s := range []string{"set role " + role, "select set_config('heddle.org', '" + string(d.scope.Org) + "', false)", sql} {
		_, err := conn.Exec(t.Context(), s)
		require.NoError(t, err, s)
	}
}

// asked submits a text whose call waits, and gives the open requests.
func (d *desk) asked(t *testing.T, text string) (agents.Run, []agents.Review) {
	t.Helper()
	r := d.wait(t, d.submit(t, agents.ThreadID(id.New()), "chat", text))
	require.Equal(t, agents.RunWaiting, r.Status)
	require.Empty(t, d.post.letters(), "nothing happens before people have decided")
	open, err := d.db.OpenReviews(t.Context(), d.ray, r.Thread)
	require.NoError(t, err)
	require.NotEmpty(t, open)
	return r, open
}

func (d *desk) decide(t *testing.T, who auth.Scope, r agents.Review, kind agents.DecisionKind, more ...string) agents.Decided {
	t.Helper()
	decision := agents.Decision{Review: r.ID, Kind: kind, Shown: agents.HashArgs(r.Args)}
	if len(more) > 0 && kind == agents.Edit {
		decision.Args = json.RawMessage(more[0])
	} else if len(more) > 0 {
		decision.Text = more[0]
	}
	done, err := d.service.Decide(t.Context(), who, []agents.Decision{decision})
	require.NoError(t, err)
	return done
}

// ended waits for the run that goes on.
func (d *desk) ended(t *testing.T, thread agents.ThreadID, resumed agents.RunID) agents.Run {
	t.Helper()
	require.NotEmpty(t, resumed)
	return d.wait(t, agents.Run{ID: resumed, Thread: thread})
}

func (d *desk) last(t *testing.T, thread agents.ThreadID) string {
	t.Helper()
	texts := d.texts(t, thread)
	return texts[len(texts)-1]
}

func TestAReviewedCallRunsOnceWithTheReviewersArguments(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, nil)
	r, open := d.asked(t, "mail bob@example.com")
	require.Len(t, open, 1)
	require.JSONEq(t, `{"to":"bob@example.com","subject":"Hi"}`, string(open[0].Args))
	thread, err := d.db.Thread(t.Context(), d.ray, r.Thread)
	require.NoError(t, err, "a reviewer reads the thread from now on")
	require.Equal(t, agents.ThreadInterrupted, thread.Status)
	_, err = d.db.Thread(t.Context(), d.max, r.Thread)
	require.True(t, fault.Is(err, fault.KindNotFound), "other members don't")

	_, err = d.service.Decide(t.Context(), d.ray, []agents.Decision{{Review: open[0].ID, Kind: agents.Edit, Args: json.RawMessage(`{"to":7}`)}})
	require.Equal(t, map[string]string{"args.to": "must be a string, not an integer", "args.subject": "is required"}, fault.FieldsOf(err))
	done := d.decide(t, d.ray, open[0], agents.Edit, `{"to":"bob@example.com","subject":"We ship"}`)
	ended := d.ended(t, r.Thread, done.Resumed)
	require.Equal(t, agents.RunSuccess, ended.Status)
	require.Equal(t, d.scope.User, ended.User, "the run goes on for whoever asked")
	require.Equal(t, []letter{{"bob@example.com", "We ship"}}, d.post.letters())
	require.Equal(t, "assistant: Done. sent to bob@example.com", d.last(t, r.Thread))
	state, err := d.db.State(t.Context(), d.scope, r.Thread)
	require.NoError(t, err)
	require.JSONEq(t, `{"to":"bob@example.com","subject":"We ship"}`, string(state.Messages[1].ToolCalls[0].Args), "the model reads what was done")
	require.Contains(t, fmt.Sprint(types(d.log(t, r.Thread))), "review.requested")
	require.Contains(t, fmt.Sprint(types(d.log(t, r.Thread))), "review.decided")
	again, err := d.service.Decide(t.Context(), d.ray, []agents.Decision{{Review: open[0].ID, Kind: agents.Approve}})
	require.True(t, fault.Is(err, fault.KindConflict), "%v", again)
	require.Contains(t, fault.Public(err), "ray already decided: edited")
}

func types(log []event.Envelope) []string {
	var out []string
	for _, e := range log {
		out = append(out, e.Key())
	}
	return out
}

func TestOtherDecisionsRunNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind       agents.DecisionKind
		text, want string
		asker      bool
	}{
		"Reject":   {agents.Reject, "too early", "assistant: Not done. A reviewer rejected this call: too early", false},
		"Respond":  {agents.Respond, "I called Bob", "assistant: Done. I called Bob", false},
		"Withdraw": {agents.Withdraw, "", "assistant: Not done. The person who asked withdrew this call.", true},
		"ByAsker":  {agents.Reject, "", "assistant: Not done. The person who asked withdrew this call.", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.worker(t, nil)
			r, open := d.asked(t, "mail bob@example.com")
			who := d.ray
			if c.asker {
				who = d.scope
			}
			d.ended(t, r.Thread, d.decide(t, who, open[0], c.kind, c.text).Resumed)
			require.Equal(t, c.want, d.last(t, r.Thread))
			require.Empty(t, d.post.letters())
		})
	}
}

func TestNobodyApprovesTheirOwnRequest(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, nil)
	d.scope.Role = auth.RoleAdmin
	d.sql(t, "heddle_system", "update memberships set role = 'admin' where user_id = '"+string(d.scope.User)+"'")
	r, open := d.asked(t, "mail bob@example.com")
	key := d.scope
	key.Key, key.KeyScopes = auth.KeyID(id.New()), auth.KeyScopes()
	for name, scope := range map[string]auth.Scope{"page": d.scope, "key": key} {
		for _, kind := range agents.Decisions() {
			if kind == agents.Reject {
				continue // is a withdrawal
			}
			_, err := d.service.Decide(t.Context(), scope, []agents.Decision{{Review: open[0].ID, Kind: kind, Text: "x", Args: open[0].Args}})
			require.True(t, fault.Is(err, fault.KindForbidden), "%s %s: %v", name, kind, err)
			require.Contains(t, fault.Public(err), "Four eyes")
		}
		_, err := d.service.Resume(t.Context(), scope, r.Thread, run.Command{Answer: json.RawMessage(`{"decisions":[{"type":"approve"}]}`)})
		require.True(t, fault.Is(err, fault.KindForbidden), "%s by resume: %v", name, err)
	}
	_, err := d.service.Decide(t.Context(), d.max, []agents.Decision{{Review: open[0].ID, Kind: agents.Approve}})
	require.True(t, fault.Is(err, fault.KindNotFound), "a member who is no reviewer: %v", err)
	narrow := d.ray
	narrow.Key, narrow.KeyScopes = auth.KeyID(id.New()), []auth.KeyScope{auth.ScopeRun}
	_, err = d.service.Decide(t.Context(), narrow, []agents.Decision{{Review: open[0].ID, Kind: agents.Approve}})
	require.Error(t, err, "a key without the scope review")
	require.Empty(t, d.post.letters())
	d.sql(t, "heddle_system", `update orgs set settings = '{"four_eyes": false}'`)
	d.ended(t, r.Thread, d.decide(t, d.scope, open[0], agents.Approve).Resumed)
	require.Len(t, d.post.letters(), 1, "an organisation may switch four eyes off")
}

// forgetful is a model that gives every call the same id, as some servers do.
type forgetful struct{}

const forgetfulID = agents.AssistantID("01a00000-0000-7000-8000-000000000001")

func (forgetful) Stream(_ context.Context, r model.Request) iter.Seq2[model.Chunk, error] {
	return func(yield func(model.Chunk, error) bool) {
		chunks := []model.Chunk{model.ToolStart(0, "call_0", "send"), model.ToolArgs(0, `{"to":"bob@example.com","subject":"Hi"}`),
			model.ToolEnd(0), model.FinishChunk(model.FinishTools)}
		if r.Messages[len(r.Messages)-1].Role == model.RoleTool {
			chunks = []model.Chunk{model.TextChunk("Done."), model.FinishChunk(model.FinishStop)}
		}
		for _, c := range chunks {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func TestADecisionHoldsForOneCallAlone(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, nil)
	require.NoError(t, d.db.EnsureAssistant(t.Context(), d.scope, agents.Assistant{
		ID: forgetfulID, Graph: "chat", Name: "Forgetful", Config: agents.AssistantConfig{Model: "forgetful", Tools: []string{"send"}}}))
	ask := func(thread agents.ThreadID) agents.Run {
		return d.wait(t, d.submit(t, thread, string(forgetfulID), "mail"))
	}
	r := ask(agents.ThreadID(id.New()))
	open, err := d.db.OpenReviews(t.Context(), d.ray, r.Thread)
	require.NoError(t, err)
	d.ended(t, r.Thread, d.decide(t, d.ray, open[0], agents.Approve).Resumed)
	require.Len(t, d.post.letters(), 1)
	again := ask(r.Thread)
	require.Equal(t, agents.RunWaiting, again.Status, "the earlier approval is not for this one")
	require.Len(t, d.post.letters(), 1)
	open, err = d.db.OpenReviews(t.Context(), d.ray, r.Thread)
	require.NoError(t, err)
	d.ended(t, r.Thread, d.decide(t, d.ray, open[0], agents.Approve).Resumed)
	require.Len(t, d.post.letters(), 2)
}

func TestOfFiftyDecisionsOneCounts(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, nil)
	r, open := d.asked(t, "mail bob@example.com")
	var won, lost atomic.Int32
	var resumed atomic.Value
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			kind := agents.Approve
			if i%2 == 1 {
				kind = agents.Reject
			}
			done, err := d.service.Decide(t.Context(), d.ray, []agents.Decision{{Review: open[0].ID, Kind: kind}})
			switch {
			case err == nil:
				won.Add(1)
				resumed.Store(done.Resumed)
			case fault.Is(err, fault.KindConflict) && strings.Contains(fault.Public(err), "already decided"):
				lost.Add(1)
			default:
				t.Errorf("neither won nor lost: %v", err)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 1, won.Load())
	require.EqualValues(t, 49, lost.Load())
	d.ended(t, r.Thread, resumed.Load().(agents.RunID))
	require.LessOrEqual(t, len(d.post.letters()), 1)
}

func TestAllCallsOfAStepAreDecidedBeforeAnyRuns(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, nil)
	r, open := d.asked(t, "two bob@example.com eve@example.com")
	require.Len(t, open, 2)
	first := d.decide(t, d.ray, open[0], agents.Approve)
	require.Empty(t, first.Resumed, "the other is undecided")
	require.Empty(t, d.post.letters())
	_, err := d.service.Resume(t.Context(), d.ray, r.Thread, run.Command{Answer: json.RawMessage(`{"decisions":[{"type":"approve"},{"type":"approve"}]}`)})
	require.Contains(t, fault.Public(err), "must hold 1 decisions")
	d.ended(t, r.Thread, d.decide(t, d.ray, open[1], agents.Reject, "no").Resumed)
	require.Equal(t, []letter{{"bob@example.com", "Hi"}}, d.post.letters())
	state, err := d.db.State(t.Context(), d.scope, r.Thread)
	require.NoError(t, err)
	require.Len(t, state.Messages, 5, "one result for each call")
	require.Equal(t, state.Messages[1].ToolCalls[1].ID, state.Messages[3].ToolCallID)
	require.Equal(t, agents.MessageFailed, state.Messages[3].Status)
}

func TestAClientAnswersAReviewInItsOwnWords(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"agent-chat-ui": `{"decisions":[{"type":"edit","edited_action":{"name":"send","args":{"to":"eve@example.com","subject":"Hi"}}}]}`,
		"agent-inbox":   `[{"type":"edit","args":{"action":"send","args":{"to":"eve@example.com","subject":"Hi"}}}]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.worker(t, nil)
			r, _ := d.asked(t, "mail bob@example.com")
			goesOn, err := d.service.Resume(t.Context(), d.ray, r.Thread, run.Command{Answer: json.RawMessage(answer)})
			require.NoError(t, err)
			d.ended(t, r.Thread, goesOn.ID)
			require.Equal(t, []letter{{"eve@example.com", "Hi"}}, d.post.letters())
		})
	}
}

// passOn gives what executes to another attempt.
func (d *desk) passOn(t *testing.T) {
	t.Helper()
	for taken := (agents.TakenOver{}); taken.Runs == 0; { // a renewal may come between the two
		d.sql(t, "heddle_system", "update thread_heads set lease_until = now() - interval '1 hour'")
		var err error
		taken, err = d.db.TakeOver(context.Background())
		require.NoError(t, err)
	}
}

func TestACallThatRanIsNotRunAgainByTheNextAttempt(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	_, stop := d.worker(t, func(o *run.Options) { o.Renew, o.Sweep = time.Hour, time.Hour })
	r, open := d.asked(t, "mail bob@example.com")
	// The thread passes to another while the letter is on its way: the attempt
	// can write down what the tool gave, and no step.
	d.post.during = func() {
		confirmed := make(chan struct{})
		d.confirmed.Store(&confirmed) // who is quicker than that would have to ask a person
		d.passOn(t)
	}
	done := d.decide(t, d.ray, open[0], agents.Approve)
	ended := d.ended(t, r.Thread, done.Resumed)
	require.Equal(t, agents.RunSuccess, ended.Status)
	require.GreaterOrEqual(t, ended.Attempt, 2)
	require.Len(t, d.post.letters(), 1)
	require.Equal(t, "assistant: Done. sent to bob@example.com", d.last(t, r.Thread))
	stop()
}

func TestACallWhoseOutcomeNobodyKnowsGoesToAPerson(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, nil)
	d.post.unknown.Store(true)
	r, open := d.asked(t, "mail bob@example.com")
	paused := d.ended(t, r.Thread, d.decide(t, d.ray, open[0], agents.Approve).Resumed)
	require.Equal(t, agents.RunWaiting, paused.Status)
	asked, err := d.db.OpenReviews(t.Context(), d.ray, r.Thread)
	require.NoError(t, err)
	require.Len(t, asked, 1)
	require.Equal(t, 1, asked[0].Round)
	require.Contains(t, asked[0].Reason, "nobody knows")
	require.Len(t, d.post.letters(), 1, "it is not repeated by itself")
	d.post.unknown.Store(false)
	d.ended(t, r.Thread, d.decide(t, d.ray, asked[0], agents.Approve).Resumed)
	require.Len(t, d.post.letters(), 2, "a person said to run it again")
	require.Equal(t, "assistant: Done. sent to bob@example.com", d.last(t, r.Thread))
}

func TestARunThatWaitsCanBeCancelledAndSuperseded(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, nil)
	r, open := d.asked(t, "mail bob@example.com")
	_, err := d.service.Cancel(t.Context(), d.scope, r.Thread, r.ID, "stopped by mia")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		got, err := d.db.Run(t.Context(), d.scope, r.Thread, r.ID)
		return err == nil && got.Status == agents.RunCancelled
	}, 10*time.Second, 20*time.Millisecond)
	got, err := d.db.Review(t.Context(), d.ray, open[0].ID)
	require.NoError(t, err)
	require.Equal(t, agents.ReviewWithdrawn, got.Status)
	require.Contains(t, d.last(t, r.Thread), "Cancelled")

	r, open = d.asked(t, "mail eve@example.com")
	next, err := d.service.Submit(t.Context(), d.scope, run.Request{Thread: r.Thread, Assistant: "chat", Supersede: true, Input: d.service.Text(d.scope, "never mind")})
	require.NoError(t, err)
	require.Equal(t, agents.RunSuccess, d.wait(t, next).Status)
	require.Equal(t, "assistant: I heard never mind.", d.last(t, r.Thread))
	got, err = d.db.Review(t.Context(), d.ray, open[0].ID)
	require.NoError(t, err)
	require.Equal(t, agents.ReviewWithdrawn, got.Status)
	texts := d.texts(t, r.Thread)
	require.Contains(t, texts[2], "tool: Cancelled", "the call has a result before the next message: %v", texts)
	require.Empty(t, d.post.letters())
}

func TestAQueuedMessageWaitsBehindTheReview(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, nil)
	r, open := d.asked(t, "mail bob@example.com")
	queued := d.submit(t, r.Thread, "chat", "what now")
	d.decide(t, d.ray, open[0], agents.Approve)
	require.Equal(t, agents.RunSuccess, d.wait(t, queued).Status)
	require.Equal(t, []string{"user: mail bob@example.com", "assistant: ", "tool: sent to bob@example.com",
		"assistant: Done. sent to bob@example.com", "user: what now", "assistant: I heard what now."}, d.texts(t, r.Thread))
	require.Equal(t, agents.RunSuccess, d.wait(t, r).Status, "the run that waited succeeded")
}

func TestARequestThatRunsOutIsDenied(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, func(o *run.Options) { o.Expire = d.service.ExpireDue })
	r, open := d.asked(t, "mail bob@example.com")
	d.sql(t, "heddle_app", "update reviews set due_at = now() - interval '1 minute'")
	require.Eventually(t, func() bool { return strings.Contains(d.last(t, r.Thread), "Nobody decided") }, 10*time.Second, 20*time.Millisecond)
	_, err := d.service.Decide(t.Context(), d.ray, []agents.Decision{{Review: open[0].ID, Kind: agents.Approve}})
	require.Contains(t, fault.Public(err), "run out")
	require.Empty(t, d.post.letters())
}

func TestARequestThatCannotBeEndedHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, nil)
	stuck, first := d.asked(t, "mail bob@example.com")
	r, _ := d.asked(t, "mail eve@example.com")
	d.sql(t, "heddle_app", fmt.Sprintf("update runs set status = 'cancelled', ended_at = now() where id = '%s'", stuck.ID))
	d.sql(t, "heddle_app", "update reviews set due_at = now() - interval '1 minute'")
	ended, err := d.service.ExpireDue(t.Context())
	require.ErrorContains(t, err, string(first[0].ID))
	require.Equal(t, 1, ended)
	require.Eventually(t, func() bool { return strings.Contains(d.last(t, r.Thread), "Nobody decided") }, 10*time.Second, 20*time.Millisecond)
}

func TestALongThreadStillKnowsItsOpenRequest(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, nil)
	r, open := d.asked(t, "mail bob@example.com")
	d.sql(t, "heddle_app", `insert into reviews select (jsonb_populate_record(v, jsonb_build_object('id', gen_random_uuid(), 'call_id', 'old ' || n,
		'status', 'expired', 'decided_at', now(), 'created_at', v.created_at - interval '1 day'))).* from reviews v, generate_series(1, 501) n`)
	found, err := d.db.OpenReviews(t.Context(), d.ray, r.Thread)
	require.NoError(t, err)
	require.Len(t, found, 1)
	view, err := d.db.View(t.Context(), d.scope, r.Thread)
	require.NoError(t, err)
	require.Equal(t, open[0].ID, view.Reviews[len(view.Reviews)-1].ID)
}

// both asks a question and for a decision in one step.
func both(t *testing.T) *graph.Graph {
	t.Helper()
	g, err := graph.New("both").
		Node("ask", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			_, err := t.Interrupt("sure?")
			return graph.Command{}, err
		}).
		Node("call", func(_ context.Context, t *graph.Task) (graph.Command, error) {
			now := t.Clock.Now()
			return graph.Command{}, t.Review("may I?", []agents.Review{{
				ID: agents.ReviewID(t.NewID()), CallID: "1", Requester: t.Scope.User, Assistant: t.Assistant.ID, AssistantVersion: t.Assistant.Version,
				Tool: "send", Args: json.RawMessage(`{}`), Allowed: agents.Decisions(), Effect: "outbound", CreatedAt: now, DueAt: now.Add(time.Hour)}})
		}).
		Edge(graph.Start, "ask").Edge(graph.Start, "call").Edge("ask", graph.End).Edge("call", graph.End).Compile()
	require.NoError(t, err)
	return g
}

func TestACommandThatDecidesDoesNothingElse(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.graphs["both"] = both(t)
	require.NoError(t, d.db.EnsureAssistant(t.Context(), d.scope, agents.Assistant{ID: agents.AssistantID(id.New()), Graph: "both", Name: "Both", IsDefault: true}))
	d.worker(t, nil)
	r := d.wait(t, d.submit(t, agents.ThreadID(id.New()), "both", "go"))
	require.Equal(t, agents.RunWaiting, r.Status)
	state, err := d.db.State(t.Context(), d.scope, r.Thread)
	require.NoError(t, err)
	answers, decision := map[string]any{}, map[string]any{}
	for _, i := range state.Head.Interrupts {
		answers[i.ID] = map[string]string{"type": "approve"}
		if i.Kind == agents.ReviewAsked {
			decision[i.ID] = answers[i.ID]
		}
	}
	require.Len(t, answers, 2)
	require.Len(t, decision, 1)
	for name, c := range map[string]run.Command{
		"an answer": {Answer: event.Data(answers)},
		"a jump":    {Answer: event.Data(decision), Goto: []string{"ask"}},
	} {
		_, err = d.service.Resume(t.Context(), d.ray, r.Thread, c)
		require.Equal(t, "must not decide on a review together with anything else: send the answer to a question, goto or update on its own",
			fault.FieldsOf(err)["command"], name)
	}
	open, err := d.db.OpenReviews(t.Context(), d.ray, r.Thread)
	require.NoError(t, err)
	require.Len(t, open, 1, "nothing was lost")
}

func TestAChangeOfTheStateAsksAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, nil)
	r, open := d.asked(t, "mail bob@example.com")
	state, err := d.db.State(t.Context(), d.scope, r.Thread)
	require.NoError(t, err)
	m := state.Messages[1]
	m.ToolCalls = []agents.ToolCall{{ID: m.ToolCalls[0].ID, Name: "send", Args: json.RawMessage(`{"to":"eve@example.com","subject":"Hi"}`)}}
	done, err := d.service.UpdateState(t.Context(), d.scope, r.Thread, run.Change{Messages: []agents.Message{m}})
	require.NoError(t, err)
	require.Equal(t, agents.RunWaiting, d.ended(t, r.Thread, done.Resumed).Status)
	old, err := d.db.Review(t.Context(), d.ray, open[0].ID)
	require.NoError(t, err)
	require.Equal(t, agents.ReviewVoid, old.Status)
	_, err = d.service.Decide(t.Context(), d.ray, []agents.Decision{{Review: open[0].ID, Kind: agents.Approve}})
	require.Contains(t, fault.Public(err), "void")
	asked, err := d.db.OpenReviews(t.Context(), d.ray, r.Thread)
	require.NoError(t, err)
	require.Len(t, asked, 1)
	require.JSONEq(t, `{"to":"eve@example.com","subject":"Hi"}`, string(asked[0].Args))
	d.ended(t, r.Thread, d.decide(t, d.ray, asked[0], agents.Approve).Resumed)
	require.Equal(t, []letter{{"eve@example.com", "Hi"}}, d.post.letters())

	r, open = d.asked2(t, "mail bob@example.com")
	_, err = d.service.UpdateState(t.Context(), d.scope, r.Thread, run.Change{AsNode: "__end__"})
	require.NoError(t, err)
	got, err := d.db.Review(t.Context(), d.ray, open[0].ID)
	require.NoError(t, err)
	require.Equal(t, agents.ReviewWithdrawn, got.Status)
	thread, err := d.db.Thread(t.Context(), d.scope, r.Thread)
	require.NoError(t, err)
	require.Equal(t, agents.ThreadIdle, thread.Status)
}

// asked2 is asked where letters have been sent before.
func (d *desk) asked2(t *testing.T, text string) (agents.Run, []agents.Review) {
	t.Helper()
	r := d.wait(t, d.submit(t, agents.ThreadID(id.New()), "chat", text))
	open, err := d.db.OpenReviews(t.Context(), d.ray, r.Thread)
	require.NoError(t, err)
	require.NotEmpty(t, open)
	return r, open
}

func TestAQuestionTakesAnyAnswer(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{`{"decisions":[{"type":"approve"}]}`, `[{"type":"accept","args":null}]`, `"yes"`, `null`} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.worker(t, nil)
			r := b.wait(t, b.submit(t, agents.ThreadID(id.New()), "approval", "launch"))
			require.Equal(t, agents.RunWaiting, r.Status)
			goesOn, err := b.service.Resume(t.Context(), b.scope, r.Thread, run.Command{Answer: json.RawMessage(answer)})
			require.NoError(t, err)
			require.Equal(t, agents.RunSuccess, b.wait(t, goesOn).Status)
			texts := b.texts(t, r.Thread)
			require.JSONEq(t, answer, strings.TrimPrefix(texts[2], "tool: "))
			require.Contains(t, texts[3], "The answer was")
			_, err = b.service.Resume(t.Context(), b.scope, r.Thread, run.Command{Answer: json.RawMessage(answer)})
			require.True(t, fault.Is(err, fault.KindConflict), "a second answer is refused: %v", err)
		})
	}
}

func TestAClientLeavesAQuestionBehind(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, nil)
	r, open := d.asked(t, "mail bob@example.com")
	ends, err := d.service.Resume(t.Context(), d.scope, r.Thread, run.Command{Goto: []string{"__end__"}})
	require.NoError(t, err)
	require.Equal(t, agents.RunSuccess, d.wait(t, ends).Status)
	got, err := d.db.Review(t.Context(), d.ray, open[0].ID)
	require.NoError(t, err)
	require.Equal(t, agents.ReviewWithdrawn, got.Status)
	thread, err := d.db.Thread(t.Context(), d.scope, r.Thread)
	require.NoError(t, err)
	require.Equal(t, agents.ThreadIdle, thread.Status)
	require.Contains(t, d.last(t, r.Thread), "Cancelled", "the call has a result")
	require.Equal(t, agents.RunSuccess, d.wait(t, d.submit(t, r.Thread, "chat", "what now")).Status)
	require.Empty(t, d.post.letters())
}

func TestAForkAsksAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, nil)
	r, open := d.asked(t, "mail bob@example.com")
	paused, err := d.db.State(t.Context(), d.scope, r.Thread)
	require.NoError(t, err)
	d.ended(t, r.Thread, d.decide(t, d.ray, open[0], agents.Approve).Resumed)
	require.Len(t, d.post.letters(), 1)
	// A line that stands on the step at which the call waited: nothing is decided
	// there, and nothing of the first line's journal holds.
	fork := id.New()
	d.sql(t, "heddle_app", fmt.Sprintf(`insert into lines (org_id, id, thread_id, parent_line, parent_step, step)
		values ('%s', '%s', '%s', '%s', %d, %d)`, d.scope.Org, fork, r.Thread, paused.Line, paused.Step, paused.Step))
	d.sql(t, "heddle_app", fmt.Sprintf("update threads set line_id = '%s' where id = '%s'", fork, r.Thread))
	again, err := d.service.Submit(t.Context(), d.scope, run.Request{Thread: r.Thread, Assistant: "chat", Input: agents.RunInput{Resume: &agents.Resume{}}})
	require.NoError(t, err)
	require.Equal(t, agents.RunWaiting, d.wait(t, again).Status)
	require.Len(t, d.post.letters(), 1)
	asked, err := d.db.OpenReviews(t.Context(), d.ray, r.Thread)
	require.NoError(t, err)
	require.Len(t, asked, 1)
	require.NotEqual(t, open[0].ID, asked[0].ID)
	_, err = d.service.Decide(t.Context(), d.scope, []agents.Decision{{Review: asked[0].ID, Kind: agents.Approve}})
	require.True(t, fault.Is(err, fault.KindForbidden), "not by a fork either: %v", err)
	d.ended(t, r.Thread, d.decide(t, d.ray, asked[0], agents.Approve).Resumed)
	require.Len(t, d.post.letters(), 2, "what a person approves on the fork runs on the fork")
}
