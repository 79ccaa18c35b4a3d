package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

const hook = "https://hooks.example.com/in"

// hooked gives an open run a webhook.
func (b *bundle) hooked(t testing.TB, scope auth.Scope, run agents.RunID) {
	t.Helper()
	done, err := b.inOrg(t, scope).Exec(t.Context(), "update runs set webhook = $1 where id = $2", hook, string(run))
	require.NoError(t, err)
	require.EqualValues(t, 1, done.RowsAffected())
}

func endedAs(thread agents.ThreadID) func(agents.Run) (event.Envelope, error) {
	return func(agents.Run) (event.Envelope, error) { return envelope(thread, "ended"), nil }
}

// told makes a delivery: of a run that is cancelled before it began.
func (b *bundle) told(t testing.TB, scope auth.Scope) agents.Delivery {
	t.Helper()
	thread := b.thread(t, scope, agents.VisibilityPrivate)
	run := b.submit(t, scope, thread.ID)
	b.hooked(t, scope, run.ID)
	_, err := b.db.CancelRun(t.Context(), scope, thread.ID, run.ID, "enough", endedAs(thread.ID), nil)
	require.NoError(t, err)
	return b.delivery(t, scope, run.ID)
}

// deliveries lists what an organisation's webhooks are told.
func (b *bundle) deliveries(t testing.TB, scope auth.Scope, status agents.DeliveryStatus) []agents.Delivery {
	t.Helper()
	found, total, err := b.db.Deliveries(t.Context(), asAdmin(scope), status, 100, 0)
	require.NoError(t, err)
	require.Len(t, found, total)
	return found
}

func (b *bundle) delivery(t testing.TB, scope auth.Scope, run agents.RunID) agents.Delivery {
	t.Helper()
	for _, d := range b.deliveries(t, scope, "") {
		if d.Run == run {
			return d
		}
	}
	require.Fail(t, "nothing is told of the run")
	return agents.Delivery{}
}

func (b *bundle) claim(t testing.TB, limit int) []agents.DueDelivery {
	t.Helper()
	found, err := b.db.ClaimDeliveries(t.Context(), limit, time.Minute)
	require.NoError(t, err)
	return found
}

// finish ends a claimed run.
func (b *bundle) finish(t testing.TB, scope auth.Scope, lease agents.Lease, f agents.Finish) {
	t.Helper()
	_, err := b.db.FinishRun(t.Context(), scope, lease, f)
	require.NoError(t, err)
}

func TestEveryEndOfARunWithAWebhookIsTold(t *testing.T) {
	ends := map[string]struct {
		want string
		end  func(t *testing.T, b *bundle, thread agents.Thread, lease agents.Lease)
	}{
		"success": {"success", func(t *testing.T, b *bundle, _ agents.Thread, lease agents.Lease) {
			b.finish(t, b.mia, lease, agents.Finish{Status: agents.RunSuccess})
		}},
		"with its last step": {"success", func(t *testing.T, b *bundle, thread agents.Thread, lease agents.Lease) {
			_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, 0, "m"), &agents.Finish{Status: agents.RunSuccess})
			require.NoError(t, err)
		}},
		"with a last step that is alone in its statement": {"success", func(t *testing.T, b *bundle, thread agents.Thread, lease agents.Lease) {
			_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, 0, "m"),
				&agents.Finish{Status: agents.RunSuccess, Events: []event.Envelope{envelope(thread.ID, "ended")}})
			require.NoError(t, err)
		}},
		"error": {"error", func(t *testing.T, b *bundle, _ agents.Thread, lease agents.Lease) {
			b.finish(t, b.mia, lease, agents.Finish{Status: agents.RunFailed, Error: &agents.RunError{Code: "node_failed", Message: "boom"}})
		}},
		"timeout": {"timeout", func(t *testing.T, b *bundle, _ agents.Thread, lease agents.Lease) {
			b.finish(t, b.mia, lease, agents.Finish{Status: agents.RunTimeout, Error: &agents.RunError{Code: "timeout", Message: "too long"}})
		}},
		"cancelled": {"interrupted", func(t *testing.T, b *bundle, _ agents.Thread, lease agents.Lease) {
			b.finish(t, b.mia, lease, agents.Finish{Status: agents.RunCancelled})
		}},
		"interrupt": {"success", func(t *testing.T, b *bundle, thread agents.Thread, lease agents.Lease) {
			step := text(thread.Line, 0, "asks")
			step.Next, step.Interrupts = agents.DueNodes("ask"), []agents.Interrupt{{ID: "i", Node: "ask", Value: json.RawMessage(`"?"`)}}
			_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, step, &agents.Finish{Status: agents.RunWaiting})
			require.NoError(t, err)
			// What becomes of the pause is told by the run that goes on.
			_, err = b.inOrg(t, b.mia).Exec(t.Context(), "update runs set status = 'success', ended_at = now() where status = 'waiting'")
			require.NoError(t, err)
		}},
		"rolled back": {"interrupted", func(t *testing.T, b *bundle, _ agents.Thread, lease agents.Lease) {
			_, err := b.inOrg(t, b.mia).Exec(t.Context(), "delete from runs where id = $1", string(lease.Run))
			require.NoError(t, err)
		}},
		"gone with its thread": {"interrupted", func(t *testing.T, b *bundle, thread agents.Thread, _ agents.Lease) {
			_, err := b.inOrg(t, b.mia).Exec(t.Context(), "delete from threads where id = $1", string(thread.ID))
			require.NoError(t, err)
		}},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			b := setup(t)
			thread, quiet := b.thread(t, b.mia, agents.VisibilityPrivate), b.thread(t, b.mia, agents.VisibilityPrivate)
			lease, _ := b.start(t, b.mia, thread.ID)
			b.hooked(t, b.mia, lease.Run)
			other, _ := b.start(t, b.mia, quiet.ID) // without a webhook
			require.NoError(t, b.db.HandBack(t.Context(), b.mia.Org, other))
			require.Empty(t, b.deliveries(t, b.mia, ""))
			end.end(t, b, thread, lease)

			require.Len(t, b.deliveries(t, b.mia, agents.DeliveryPending), 1)
			due := b.claim(t, 10)
			require.Len(t, due, 1)
			require.Equal(t, lease.Run, due[0].Run)
			require.Equal(t, hook, due[0].URL)
			require.Equal(t, end.want, due[0].Ended.Status.API())
			require.Equal(t, lease.Run, due[0].Ended.ID)
			require.Equal(t, b.mia.User, due[0].Ended.User)
			require.WithinDuration(t, time.Now(), due[0].Ended.StartedAt, time.Minute)
			require.Equal(t, 1, due[0].Attempts)
			require.Empty(t, b.claim(t, 10), "it is claimed")
		})
	}
}

func TestARunThatIsHandedBackOrTakenOverHasNotEnded(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, worker := b.start(t, b.mia, thread.ID)
	b.hooked(t, b.mia, lease.Run)
	_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, 0, "m"), nil)
	require.NoError(t, err)
	require.NoError(t, b.db.HandBack(t.Context(), b.mia.Org, lease))
	again, err := b.db.Claim(t.Context(), worker, 10, time.Minute)
	require.NoError(t, err)
	require.Len(t, again, 1)
	require.Empty(t, b.deliveries(t, b.mia, ""))
}

func TestWhatAWebhookIsToldDoesNotOutliveOrganisationOrPerson(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.gia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.gia, thread.ID)
	b.hooked(t, b.gia, lease.Run)
	b.told(t, b.gia)
	require.Len(t, b.deliveries(t, b.gus, ""), 1)
	owner := connect(t, b.url, "")
	_, err := owner.Exec(t.Context(), "delete from users where id = $1", string(b.gia.User))
	require.NoError(t, err)
	require.Empty(t, b.deliveries(t, b.gus, ""))

	thread = b.thread(t, b.gus, agents.VisibilityPrivate)
	lease, _ = b.start(t, b.gus, thread.ID)
	b.hooked(t, b.gus, lease.Run)
	_, err = owner.Exec(t.Context(), "delete from orgs where id = $1", string(b.gus.Org))
	require.NoError(t, err)
	require.Empty(t, b.claim(t, 10))
}

func TestTheStateThatIsToldIsTheRunsOwn(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	b.hooked(t, b.mia, lease.Run)
	_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, 0, "first"), &agents.Finish{Status: agents.RunSuccess})
	require.NoError(t, err)
	next, _ := b.start(t, b.mia, thread.ID)
	_, _, err = b.db.CommitStep(t.Context(), b.mia, next, text(thread.Line, 1, "second"), nil)
	require.NoError(t, err)

	due := b.claim(t, 1)[0]
	state, err := b.db.StateAfter(t.Context(), due.Ended)
	require.NoError(t, err)
	require.Len(t, state.Messages, 1)
	require.EqualValues(t, "first", state.Messages[0].ID)

	never := due.Ended
	never.ID = agents.RunID(id.New())
	state, err = b.db.StateAfter(t.Context(), never)
	require.NoError(t, err)
	require.Nil(t, state, "a run that committed nothing left nothing")
	gone := due.Ended
	gone.Thread = agents.ThreadID(id.New())
	state, err = b.db.StateAfter(t.Context(), gone)
	require.NoError(t, err)
	require.Nil(t, state)
}

func TestTwoNodesNeverAttemptTheSameAtOnce(t *testing.T) {
	b := setup(t)
	const n = 40
	for range n {
		b.told(t, b.mia)
	}
	other := open(t, b.url)
	var mu sync.Mutex
	seen := map[agents.DeliveryID]int{}
	var nodes sync.WaitGroup
	for _, db := range []*store.DB{b.db, other} {
		nodes.Go(func() {
			for {
				found, err := db.ClaimDeliveries(t.Context(), 3, time.Minute)
				if err != nil || len(found) == 0 {
					assertNoError(t, err, "claiming")
					return
				}
				mu.Lock()
				for _, d := range found {
					seen[d.ID]++
				}
				mu.Unlock()
			}
		})
	}
	nodes.Wait()
	require.Len(t, seen, n)
	for delivery, times := range seen {
		require.Equal(t, 1, times, delivery)
	}
}

func TestALostAttemptIsRepeatedAndTheLateOneChangesNothing(t *testing.T) {
	b := setup(t)
	b.told(t, b.mia)
	lost, err := b.db.ClaimDeliveries(t.Context(), 1, -time.Second) // its node is gone at once
	require.NoError(t, err)
	require.Len(t, lost, 1)
	require.NoError(t, b.db.KeepDelivery(t.Context(), lost[0], `{"a":1}`))
	second := b.claim(t, 1)
	require.Len(t, second, 1)
	require.Equal(t, 2, second[0].Attempts)
	require.Equal(t, `{"a":1}`, second[0].Body)
	require.NotEqual(t, lost[0].Claim, second[0].Claim)

	require.ErrorIs(t, b.db.SettleDelivery(t.Context(), lost[0], agents.DeliveryOutcome{Status: agents.DeliveryDead}), agents.ErrFenced)
	require.ErrorIs(t, b.db.KeepDelivery(t.Context(), lost[0], `{"a":2}`), agents.ErrFenced)
	require.NoError(t, b.db.SettleDelivery(t.Context(), second[0], agents.DeliveryOutcome{Status: agents.DeliveryDelivered, Answer: 204}))
	require.ErrorIs(t, b.db.SettleDelivery(t.Context(), second[0], agents.DeliveryOutcome{Status: agents.DeliveryDead}), agents.ErrFenced)
	require.Empty(t, b.claim(t, 1))
	done := b.deliveries(t, b.mia, agents.DeliveryDelivered)
	require.Len(t, done, 1)
	require.Equal(t, 204, done[0].Answer)
	require.Empty(t, done[0].Failure)
	require.WithinDuration(t, time.Now(), done[0].SettledAt, time.Minute)
}

func TestAFailedAttemptWaitsAndADeadOneIsPutBackInLine(t *testing.T) {
	b := setup(t)
	made := b.told(t, b.mia)
	b.told(t, b.gia)
	b.claim(t, 10)
	_, err := b.inOrg(t, b.mia).Exec(t.Context(), "update webhook_deliveries set due_at = now()")
	require.NoError(t, err)
	due := b.claim(t, 10)
	require.Len(t, due, 1)
	require.NoError(t, b.db.SettleDelivery(t.Context(), due[0], agents.DeliveryOutcome{Status: agents.DeliveryPending, After: time.Hour, Answer: 500, Failure: "It answered 500."}))
	require.Empty(t, b.claim(t, 10), "not yet")
	waits := b.delivery(t, b.mia, made.Run)
	require.Equal(t, "It answered 500.", waits.Failure)
	require.WithinDuration(t, time.Now().Add(time.Hour), waits.DueAt, time.Minute)

	again, err := b.db.RequeueDelivery(t.Context(), b.ada, made.ID)
	require.NoError(t, err)
	require.Equal(t, agents.DeliveryPending, again.Status)
	require.Zero(t, again.Attempts)
	require.Empty(t, again.Failure)
	due = b.claim(t, 10)
	require.Len(t, due, 1)
	_, err = b.db.RequeueDelivery(t.Context(), b.ada, made.ID)
	require.NoError(t, err)
	require.ErrorIs(t, b.db.SettleDelivery(t.Context(), due[0], agents.DeliveryOutcome{Status: agents.DeliveryDelivered}), agents.ErrFenced,
		"an attempt under way no longer counts")
	due = b.claim(t, 10)
	require.NoError(t, b.db.SettleDelivery(t.Context(), due[0], agents.DeliveryOutcome{Status: agents.DeliveryDead, Failure: "It is refused."}))
	require.Len(t, b.deliveries(t, b.mia, agents.DeliveryDead), 1)

	for _, unknown := range []agents.DeliveryID{agents.DeliveryID(id.New()), "x"} {
		_, err = b.db.RequeueDelivery(t.Context(), b.ada, unknown)
		requireKind(t, fault.KindNotFound, err)
	}
	for _, member := range []auth.Scope{b.mia, b.max} {
		_, err = b.db.RequeueDelivery(t.Context(), member, made.ID)
		requireKind(t, fault.KindForbidden, err)
		_, _, err = b.db.Deliveries(t.Context(), member, "", 10, 0)
		requireKind(t, fault.KindForbidden, err)
		_, err = b.db.WebhookSecrets(t.Context(), member)
		requireKind(t, fault.KindForbidden, err)
		_, err = b.db.AddWebhookSecret(t.Context(), member, agents.SealedSecret{ID: id.New(), Sealed: []byte("x")}, 0)
		requireKind(t, fault.KindForbidden, err)
	}
	log, err := b.db.AuditLog(t.Context(), b.ada, auth.AuditQuery{Action: "webhook."})
	require.NoError(t, err)
	require.Len(t, log.Rows, 2)
	require.Equal(t, "webhook.requeued", log.Rows[0].Action)
	require.Equal(t, hook, log.Rows[0].ObjectName)
}

func TestOrganisationsTakeTurnsInAClaim(t *testing.T) {
	b := setup(t)
	for range 5 {
		b.told(t, b.mia)
	}
	b.told(t, b.gia)
	orgs := map[auth.OrgID]int{}
	for _, d := range b.claim(t, 2) {
		orgs[d.Org]++
	}
	require.Equal(t, map[auth.OrgID]int{b.mia.Org: 1, b.gia.Org: 1}, orgs)
}

func TestSecretsOverlapWhileTheyAreChanged(t *testing.T) {
	b := setup(t)
	made := func(name string) agents.SealedSecret { return agents.SealedSecret{ID: id.New(), Sealed: []byte(name)} }
	names := func(all []agents.SealedSecret) (out []string) {
		for _, s := range all {
			out = append(out, string(s.Sealed))
		}
		return out
	}
	// Several nodes want the first one at once: all get the same.
	var nodes sync.WaitGroup
	got := make([]agents.SealedSecret, 8)
	for i := range got {
		nodes.Go(func() {
			var err error
			got[i], err = b.db.FirstWebhookSecret(context.WithoutCancel(t.Context()), b.mia.Org, made(fmt.Sprint("first of ", i)))
			assertNoError(t, err, "first")
		})
	}
	nodes.Wait()
	for _, s := range got {
		require.Equal(t, got[0], s)
	}
	first := string(got[0].Sealed)
	all, err := b.db.AddWebhookSecret(t.Context(), b.ada, made("second"), time.Hour)
	require.NoError(t, err)
	require.Equal(t, []string{"second", first}, names(all))
	require.Zero(t, all[0].EndsAt)
	require.WithinDuration(t, time.Now().Add(time.Hour), all[1].EndsAt, time.Minute)
	b.told(t, b.mia)
	require.Equal(t, []string{"second", first}, names(b.claim(t, 1)[0].Secrets), "both sign")

	all, err = b.db.AddWebhookSecret(t.Context(), b.ada, made("third"), -time.Second)
	require.NoError(t, err)
	require.Equal(t, []string{"third", first}, names(all), "the second one's time is over")
	all, err = b.db.WebhookSecrets(t.Context(), b.ada)
	require.NoError(t, err)
	require.Equal(t, []string{"third", first}, names(all))
	log, err := b.db.AuditLog(t.Context(), b.ada, auth.AuditQuery{Action: "webhook.secret_"})
	require.NoError(t, err)
	require.Len(t, log.Rows, 3)
	for _, row := range log.Rows {
		require.NotContains(t, string(row.After)+string(row.Before)+row.ObjectName, "third")
	}
}

func TestSettledDeliveriesAreSwept(t *testing.T) {
	b := setup(t)
	settle := func(status agents.DeliveryStatus, age string) {
		b.told(t, b.mia)
		due := b.claim(t, 1)
		require.NoError(t, b.db.SettleDelivery(t.Context(), due[0], agents.DeliveryOutcome{Status: status}))
		_, err := b.inOrg(t, b.mia).Exec(t.Context(), "update webhook_deliveries set settled_at = now() - $2::interval where id = $1", string(due[0].ID), age)
		require.NoError(t, err)
	}
	settle(agents.DeliveryDelivered, "6 days")
	settle(agents.DeliveryDelivered, "8 days")
	settle(agents.DeliveryDead, "8 days")
	settle(agents.DeliveryDead, "31 days")
	b.told(t, b.mia)
	want := map[auth.OrgID]agents.Swept{b.mia.Org: {Deliveries: 2}}
	for _, dry := range []bool{true, true, false} {
		went, err := b.db.SweepExpired(t.Context(), dry)
		require.NoError(t, err)
		require.Equal(t, want, went)
	}
	went, err := b.db.SweepExpired(t.Context(), false)
	require.NoError(t, err)
	require.Empty(t, went)
	require.Len(t, b.deliveries(t, b.mia, ""), 3)
}
