package store_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

func bounded(t *testing.T, b *bundle, bounds store.Bounds) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{URL: b.url, Bounds: bounds})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}

// TestNoMoreExecutesThanTheBoundsLeave: over nodes that claim side by side, and
// what one may not have, others get.
func TestNoMoreExecutesThanTheBoundsLeave(t *testing.T) {
	b := setup(t)
	bounds := store.Bounds{ExecutingPerOrg: 5, ExecutingPerPerson: 3}
	nodes := []*store.DB{bounded(t, b, bounds), bounded(t, b, bounds), bounded(t, b, bounds)}
	for range 8 { // mia is first in line with more than she may have
		b.submit(t, b.mia, b.thread(t, b.mia, agents.VisibilityPrivate).ID)
	}
	for range 4 {
		b.submit(t, b.max, b.thread(t, b.max, agents.VisibilityPrivate).ID)
		b.submit(t, b.gia, b.thread(t, b.gia, agents.VisibilityPrivate).ID)
	}
	var mu sync.Mutex
	var claimed []agents.Run
	claim := func() {
		var group errgroup.Group
		for _, node := range nodes {
			group.Go(func() error {
				got, err := node.Claim(t.Context(), agents.WorkerID(id.New()), 10, time.Minute)
				mu.Lock()
				defer mu.Unlock()
				for _, c := range got {
					claimed = append(claimed, c.Run)
				}
				return err
			})
		}
		require.NoError(t, group.Wait())
	}
	count := func() map[auth.UserID]int {
		out := map[auth.UserID]int{}
		for _, r := range claimed {
			out[r.User]++
		}
		return out
	}
	claim()
	require.Equal(t, map[auth.UserID]int{b.mia.User: 3, b.max.User: 2, b.gia.User: 3}, count())
	claim()
	require.Len(t, claimed, 8, "nothing is left")
	for i, r := range claimed { // one of mia's ends: her next takes its place
		if r.User == b.mia.User {
			_, err := b.db.FinishRun(t.Context(), b.mia, agents.Lease{Thread: r.Thread, Run: r.ID, Token: r.Token}, agents.Finish{Status: agents.RunSuccess})
			require.NoError(t, err)
			claimed = append(claimed[:i], claimed[i+1:]...)
			break
		}
	}
	claim()
	require.Equal(t, map[auth.UserID]int{b.mia.User: 3, b.max.User: 2, b.gia.User: 3}, count())
}

func TestBeyondWhatMayWaitNewRunsAreRefused(t *testing.T) {
	b := setup(t)
	db := bounded(t, b, store.Bounds{QueuedPerThread: 2, QueuedPerPerson: 4, QueuedPerOrg: 6})
	submit := func(scope auth.Scope, thread agents.ThreadID) string {
		_, err := db.Submit(t.Context(), scope, b.submission(thread))
		if err == nil {
			return ""
		}
		require.Equal(t, fault.KindLimited, fault.KindOf(err))
		return fault.Code(err)
	}
	first := b.thread(t, b.mia, agents.VisibilityPrivate).ID
	for _, want := range []string{"", "", "", "queue_full"} { // one executes, two wait
		require.Equal(t, want, submit(b.mia, first))
	}
	require.Empty(t, submit(b.mia, b.thread(t, b.mia, agents.VisibilityPrivate).ID))
	require.Equal(t, "queue_full_person", submit(b.mia, b.thread(t, b.mia, agents.VisibilityPrivate).ID))
	require.Empty(t, submit(b.max, b.thread(t, b.max, agents.VisibilityPrivate).ID))
	require.Empty(t, submit(b.max, b.thread(t, b.max, agents.VisibilityPrivate).ID))
	require.Equal(t, "queue_full_org", submit(b.max, b.thread(t, b.max, agents.VisibilityPrivate).ID))
	require.Empty(t, submit(b.gia, b.thread(t, b.gia, agents.VisibilityPrivate).ID), "another organisation's line is its own")
	_, err := db.Claim(context.WithoutCancel(t.Context()), agents.WorkerID(id.New()), 10, time.Minute)
	require.NoError(t, err)
	require.Empty(t, submit(b.max, b.thread(t, b.max, agents.VisibilityPrivate).ID), "what executes does not wait")
}
