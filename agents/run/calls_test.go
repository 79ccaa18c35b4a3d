package run_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/run"
)

// journal reads the state of a thread's only journalled call.
func (d *desk) journal(t *testing.T, thread agents.ThreadID) agents.JournalStatus {
	t.Helper()
	state, err := d.db.State(t.Context(), d.scope, thread)
	require.NoError(t, err)
	found, err := d.db.CallRecords(t.Context(), d.scope, state.Line, []string{state.Messages[1].ToolCalls[0].ID})
	require.NoError(t, err)
	require.Len(t, found, 1)
	for _, r := range found {
		require.NotNil(t, r.Journal)
		return r.Journal.Status
	}
	return ""
}

func TestACallThatIsCutOffByACancelIsUnknown(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, nil)
	inside, release := make(chan struct{}), make(chan struct{})
	d.post.during = func() { close(inside); <-release }
	r, open := d.asked(t, "mail bob@example.com")
	resumed := d.decide(t, d.ray, open[0], agents.Approve).Resumed
	<-inside
	_, err := d.service.Cancel(t.Context(), d.scope, r.Thread, resumed, "stopped by mia")
	require.NoError(t, err)
	require.Equal(t, agents.RunCancelled, d.ended(t, r.Thread, resumed).Status)
	close(release) // nobody waits for its answer any more
	require.Contains(t, d.last(t, r.Thread), "nobody knows whether it took effect")
	require.Equal(t, agents.JournalUnknown, d.journal(t, r.Thread))
	next := d.wait(t, d.submit(t, r.Thread, "chat", "and now"))
	require.Equal(t, agents.RunSuccess, next.Status, "the thread is whole for its model")
	require.Len(t, d.post.letters(), 1)
}

// TestOfCallsThatAnOtherInputLeavesBehindTheOutcomesStay: one call has taken
// effect, of the other nobody knows; what comes in place of the answer says so.
func TestOfCallsThatAnOtherInputLeavesBehindTheOutcomesStay(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, nil)
	d.post.unknown.Store(true)
	d.post.only = "eve@example.com"
	r, open := d.asked(t, "two bob@example.com eve@example.com")
	d.decide(t, d.ray, open[0], agents.Approve)
	paused := d.ended(t, r.Thread, d.decide(t, d.ray, open[1], agents.Approve).Resumed)
	require.Equal(t, agents.RunWaiting, paused.Status)
	next, err := d.service.Submit(t.Context(), d.scope, run.Request{Thread: r.Thread, Assistant: "chat", Supersede: true, Input: d.service.Text(d.scope, "never mind")})
	require.NoError(t, err)
	require.Equal(t, agents.RunSuccess, d.wait(t, next).Status)
	texts := d.texts(t, r.Thread)
	require.Equal(t, "tool: sent to bob@example.com", texts[2])
	require.Contains(t, texts[3], "nobody knows whether it took effect")
	require.Len(t, d.post.letters(), 2)
}

func TestACallThatWasOnlyReservedRunsWithoutAsking(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, func(o *run.Options) { o.Renew, o.Sweep = time.Hour, time.Hour })
	r, open := d.asked(t, "mail bob@example.com")
	passOn := func() { d.passOn(t) }
	d.beforeSend.Store(&passOn)
	ended := d.ended(t, r.Thread, d.decide(t, d.ray, open[0], agents.Approve).Resumed)
	require.Equal(t, agents.RunSuccess, ended.Status, "nobody is asked what became of it")
	require.GreaterOrEqual(t, ended.Attempt, 2)
	require.Equal(t, []letter{{"bob@example.com", "Hi"}}, d.post.letters())
	require.Equal(t, agents.JournalConfirmed, d.journal(t, r.Thread))
}

func TestACallThatWasSentAndLostItsServerGoesToAPerson(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, func(o *run.Options) { o.Renew, o.Sweep = 50*time.Millisecond, time.Hour })
	release := make(chan struct{})
	d.post.during = func() { d.passOn(t); <-release } // its attempt ends with the next renewal
	defer close(release)
	r, open := d.asked(t, "mail bob@example.com")
	paused := d.ended(t, r.Thread, d.decide(t, d.ray, open[0], agents.Approve).Resumed)
	require.Equal(t, agents.RunWaiting, paused.Status)
	asked, err := d.db.OpenReviews(t.Context(), d.ray, r.Thread)
	require.NoError(t, err)
	require.Len(t, asked, 1)
	require.Equal(t, "unknown outcome", asked[0].Rule)
	require.NotContains(t, asked[0].Allowed, agents.Edit, "what happened is not changed by other arguments")
	d.ended(t, r.Thread, d.decide(t, d.ray, asked[0], agents.Respond, "It went out").Resumed)
	require.Len(t, d.post.letters(), 1)
	require.Contains(t, d.texts(t, r.Thread)[2], "It went out")
}
