package store_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/store"
)

// TestOfManyWhoComeAtOnceOneFindsTheThreadIdle: on one node, and on several.
func TestOfManyWhoComeAtOnceOneFindsTheThreadIdle(t *testing.T) {
	b := setup(t)
	nodes := []*store.DB{b.db, open(t, b.url), open(t, b.url)}
	for range 10 {
		thread := b.thread(t, b.mia, agents.VisibilityPrivate).ID
		var placed, refused atomic.Int32
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				s := b.submission(thread)
				s.Strategy = agents.StrategyReject
				_, err := nodes[i%3].Submit(t.Context(), b.mia, s)
				switch {
				case err == nil:
					placed.Add(1)
				case fault.Code(err) == "thread_busy":
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, placed.Load())
		require.EqualValues(t, 11, refused.Load())
	}
	thread := b.thread(t, b.mia, agents.VisibilityPrivate).ID
	ahead := make([]int, 12)
	var wg sync.WaitGroup
	for i := range ahead {
		wg.Go(func() {
			s := b.submission(thread)
			told := s.Queued
			s.Queued = func(n int, first bool) (event.Envelope, error) { ahead[i] = n; return told(n, first) }
			if _, err := nodes[i%3].Submit(t.Context(), b.mia, s); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := map[int]bool{}
	for _, n := range ahead {
		seen[n] = true
	}
	require.Len(t, seen, len(ahead), "each is told its own place in line: %v", ahead)
}

// TestWhoComeAtOnceArePlacedTogether on threads of their own, each as it would be
// alone.
func TestWhoComeAtOnceArePlacedTogether(t *testing.T) {
	b := setup(t)
	const n = 20
	threads, submitted := make([]agents.ThreadID, n), make([]agents.Submitted, n)
	for i := range threads {
		threads[i] = b.thread(t, b.mia, agents.VisibilityPrivate).ID
	}
	before := b.written(t)
	gate := connect(t, b.url, "")
	_, err := gate.Exec(t.Context(), "begin; lock table runs in exclusive mode")
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			s := b.submission(threads[i])
			s.Title, s.Metadata = "Hello", []byte(`{"b":1,"a":2}`)
			var err error
			if submitted[i], err = b.db.Submit(t.Context(), b.mia, s); err != nil {
				t.Error(err)
			}
		})
	}
	require.Eventually(t, func() bool {
		return scan[int](t, gate, `select count(*) from pg_locks where not granted`) > 0
	}, 10*time.Second, 10*time.Millisecond)
	_, err = gate.Exec(t.Context(), "commit")
	require.NoError(t, err)
	wg.Wait()
	require.Less(t, b.written(t)-before, int64(n), "some of them shared a transaction")
	for i, s := range submitted {
		stored, err := b.db.Run(t.Context(), b.mia, threads[i], s.Run.ID)
		require.NoError(t, err)
		require.Equal(t, stored, s.Run, "what is answered is what is stored")
		require.EqualValues(t, 1, s.Position.Seq)
		thread, err := b.db.Thread(t.Context(), b.mia, threads[i])
		require.NoError(t, err)
		require.Equal(t, agents.ThreadBusy, thread.Status)
		require.Equal(t, b.assistant.ID, thread.Assistant)
	}
	_, err = b.db.Submit(t.Context(), b.max, b.submission(threads[0]))
	require.True(t, fault.Is(err, fault.KindNotFound), "another's thread stays unknown")
	_, err = b.db.Submit(t.Context(), auth.Scope{User: b.gia.User, Org: b.gia.Org, Role: auth.RoleMember}, b.submission(threads[1]))
	require.True(t, fault.Is(err, fault.KindNotFound))
}
