package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

// TestNumbersAreDenseAndUniqueWhoeverAppends lets eight appenders of two nodes
// write to the same threads in different orders while people submit runs, which
// append without a token. A deadlock would come back as an error.
func TestNumbersAreDenseAndUniqueWhoeverAppends(t *testing.T) {
	b := setup(t)
	const threads, rounds = 12, 40
	type target struct {
		lease agents.Lease
		epoch string
	}
	var targets []target
	for range threads {
		thread := b.thread(t, b.mia, agents.VisibilityPrivate)
		lease, _ := b.start(t, b.mia, thread.ID)
		view, err := b.db.View(t.Context(), b.mia, thread.ID)
		require.NoError(t, err)
		targets = append(targets, target{lease, view.Head.Epoch})
	}
	nodes := []*store.DB{b.db, open(t, b.url)}
	var accepted, refused atomic.Int64
	group, ctx := errgroup.WithContext(t.Context())
	for g := range 8 {
		random := rand.New(rand.NewPCG(uint64(g), 1))
		group.Go(func() error {
			for round := range rounds {
				var entries []agents.Entry
				for _, i := range random.Perm(threads)[:1+random.IntN(threads)] {
					for range 1 + random.IntN(3) {
						e := agents.Entry{Org: b.mia.Org, Thread: targets[i].lease.Thread, Run: targets[i].lease.Run, Token: targets[i].lease.Token,
							Type: event.Custom, Body: fmt.Appendf(nil, `{"g":%d,"round":%d,"n":%d}`, g, round, len(entries))}
						if random.IntN(8) == 0 {
							e.Token-- // an attempt that lost the thread
						}
						entries = append(entries, e)
					}
				}
				numbered, err := nodes[g%2].Append(ctx, entries)
				if err != nil {
					return err
				}
				last := map[agents.ThreadID]int64{}
				tokens := map[agents.ThreadID]int64{}
				for _, target := range targets {
					tokens[target.lease.Thread] = target.lease.Token
				}
				for i, e := range entries {
					old := e.Token < tokens[e.Thread]
					switch {
					case old && numbered[i] != agents.Numbered{}:
						return fmt.Errorf("an old token got number %d", numbered[i].Seq)
					case !old && (numbered[i].Seq <= last[e.Thread] || numbered[i].Epoch == ""):
						return fmt.Errorf("entries of a batch lost their order: %d after %d", numbered[i].Seq, last[e.Thread])
					case old:
						refused.Add(1)
					default:
						accepted.Add(1)
						last[e.Thread] = numbered[i].Seq
					}
				}
			}
			return nil
		})
	}
	for g := range 2 {
		group.Go(func() error {
			for i := range threads * 2 {
				if _, err := nodes[g].Submit(ctx, b.mia, b.submission(targets[(i*(g+1))%threads].lease.Thread)); err != nil {
					return err
				}
				accepted.Add(1)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	require.Positive(t, refused.Load())

	conn := b.inOrg(t, b.mia)
	require.EqualValues(t, accepted.Load()+threads, scan[int64](t, conn, "select sum(seq - from_seq + 1)::bigint from events"))
	require.Empty(t, collect[string](t, conn, `select h.thread_id::text from thread_heads h
		join (select thread_id, sum(seq - from_seq + 1) as n, count(distinct seq) as rows, count(*) as all_rows, min(from_seq) as low, max(seq) as high from events group by 1) e
			on e.thread_id = h.thread_id
		where e.n <> h.seq or e.rows <> e.all_rows or e.low <> 1 or e.high <> h.seq`))
	for _, target := range targets {
		rows, head, err := b.db.Log(t.Context(), b.mia, target.lease.Thread, 0, 0)
		require.NoError(t, err)
		require.Equal(t, target.epoch, head.Epoch)
		require.EqualValues(t, len(rows), head.Seq)
		for i, row := range rows {
			require.EqualValues(t, i+1, row.Seq)
			require.Equal(t, row.Seq, row.From)
		}
	}
}

// TestDeletingThreadsWhileOthersAppendEndsInNoDeadlock is about lock order: an
// appender holds the head and needs the thread's key, the deleter needs both.
func TestDeletingThreadsWhileOthersAppendEndsInNoDeadlock(t *testing.T) {
	b := setup(t)
	for range 15 {
		var leases []agents.Lease
		for range 4 {
			thread := b.thread(t, b.mia, agents.VisibilityPrivate)
			lease, _ := b.start(t, b.mia, thread.ID)
			leases = append(leases, lease)
		}
		group, ctx := errgroup.WithContext(t.Context())
		ready := make(chan struct{})
		for range 3 {
			group.Go(func() error {
				<-ready
				for range 10 {
					var entries []agents.Entry
					for _, l := range leases {
						entries = append(entries, agents.Entry{Org: b.mia.Org, Thread: l.Thread, Run: l.Run, Token: l.Token, Type: event.Custom, Body: []byte(`{}`)})
					}
					if _, err := b.db.Append(ctx, entries); err != nil {
						return fmt.Errorf("appending: %w", err)
					}
				}
				return nil
			})
		}
		group.Go(func() error {
			<-ready
			for _, l := range leases {
				if err := b.db.DeleteThread(ctx, b.mia, l.Thread); err != nil {
					return fmt.Errorf("deleting: %w", err)
				}
			}
			return nil
		})
		close(ready)
		require.NoError(t, group.Wait())
	}
	conn := b.inOrg(t, b.mia)
	for _, table := range []string{"threads", "thread_heads", "events", "runs", "lines"} {
		require.Zero(t, scan[int](t, conn, "select count(*) from "+table), table)
	}
}

func TestEntriesOfUnknownThreadsAndOtherOrganisationsAreRefused(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	before := b.picture(t)
	entry := agents.Entry{Org: b.mia.Org, Thread: thread.ID, Run: lease.Run, Token: lease.Token, Type: event.Custom, Body: []byte(`{}`)}
	foreign, unknown := entry, entry
	foreign.Org, unknown.Thread = b.gia.Org, agents.ThreadID(id.New())
	numbered, err := b.db.Append(t.Context(), []agents.Entry{foreign, unknown})
	require.NoError(t, err)
	require.Equal(t, []agents.Numbered{{}, {}}, numbered)
	require.Equal(t, before, b.picture(t))

	numbered, err = b.db.Append(t.Context(), []agents.Entry{foreign, entry, unknown, entry})
	require.NoError(t, err)
	require.EqualValues(t, []int64{0, 2, 0, 3}, []int64{numbered[0].Seq, numbered[1].Seq, numbered[2].Seq, numbered[3].Seq})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	none, err := b.db.Append(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, none)
}

// TestRenewingLeasesNeverDeadlocksWithAppending lets a worker renew all its
// leases while batches are appended to the same threads: both lock many heads.
func TestRenewingLeasesNeverDeadlocksWithAppending(t *testing.T) {
	b := setup(t)
	const threads, rounds = 24, 150
	var leases []agents.Lease
	for range threads {
		lease, _ := b.start(t, b.mia, b.thread(t, b.mia, agents.VisibilityPrivate).ID)
		leases = append(leases, lease)
	}
	// One worker holds them all, as under load.
	worker := agents.WorkerID(id.New())
	conn := connect(t, b.url, "heddle_system")
	_, err := conn.Exec(t.Context(), "update thread_heads set worker_id = $1 where run_id is not null", string(worker))
	require.NoError(t, err)
	group, ctx := errgroup.WithContext(t.Context())
	for g := range 3 {
		random := rand.New(rand.NewPCG(uint64(g), 2))
		group.Go(func() error {
			for range rounds {
				var entries []agents.Entry
				for _, i := range random.Perm(threads) {
					entries = append(entries, agents.Entry{Org: b.mia.Org, Thread: leases[i].Thread, Run: leases[i].Run,
						Token: leases[i].Token, Type: event.Custom, Body: []byte(`{}`)})
				}
				if _, err := b.db.Append(ctx, entries); err != nil {
					return err
				}
			}
			return nil
		})
		group.Go(func() error {
			var runs []agents.RunID
			for _, l := range leases {
				runs = append(runs, l.Run)
			}
			for range rounds {
				still, err := b.db.Renew(ctx, worker, runs, time.Minute)
				if err != nil {
					return err
				}
				if len(still) != threads {
					return fmt.Errorf("%d of %d leases were renewed", len(still), threads)
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
}
