package realtime_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/realtime"
)

func TestAFeedReplaysWhileMessagesPourInAndGoesLiveWithoutGapOrRepeat(t *testing.T) {
	onBothServers(t, func(t *testing.T, addr string) {
		log := newLog()
		h := startHub(t, addr, log)
		ctx := within(t, 20*time.Second)
		log.append("t", 2000)

		var wg sync.WaitGroup
		wg.Go(func() {
			for range 1500 {
				if err := h.Publish(ctx, "t", log.append("t", 1)...); err != nil {
					t.Error(err)
					return
				}
			}
		})
		sinks := make([]*frames, 5)
		for i := range sinks {
			sinks[i] = &frames{}
			f, err := h.Feed(ctx, "t", realtime.Start{After: int64(100 * i), HasAfter: true, Epoch: "e1"}, sinks[i])
			require.NoError(t, err)
			defer f.Close()
			require.False(t, f.Cut)
			wg.Go(func() {
				if err := f.CatchUp(ctx, func(ctx context.Context) error { return ctx.Err() }); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for i, s := range sinks {
			require.Eventually(t, func() bool { return s.seq() == 3500 }, 10*time.Second, time.Millisecond)
			var got []int64
			for _, d := range s.all() {
				got = append(got, d.Seq)
			}
			require.Equal(t, numbers(int64(100*i)+1, 3500), got)
		}
	})
}

func TestAFeedWithoutAPlaceStartsAtTheNewestNumber(t *testing.T) {
	log := newLog()
	h := startHub(t, startRedis(t).addr(), log)
	ctx := within(t, 10*time.Second)
	log.append("t", 5)
	s := &frames{}
	f, err := h.Feed(ctx, "t", realtime.Start{}, s)
	require.NoError(t, err)
	defer f.Close()
	require.Equal(t, realtime.Position{Seq: 5, Epoch: "e1"}, f.At)
	require.NoError(t, f.CatchUp(ctx, func(context.Context) error { return nil }))
	require.NoError(t, h.Publish(ctx, "t", log.append("t", 1)...))
	require.Eventually(t, func() bool { return s.seq() == 6 }, 5*time.Second, time.Millisecond)
	require.Len(t, s.all(), 1)
}

func TestALogWithAGapIsReplayedUpToItAndThenStartsAnew(t *testing.T) {
	log := newLog()
	h := startHub(t, startRedis(t).addr(), log)
	ctx := within(t, 10*time.Second)
	log.append("t", 10)
	log.mu.Lock()
	log.topics["t"].rows = append(log.topics["t"].rows[:3:3], log.topics["t"].rows[6:]...)
	log.mu.Unlock()
	s := &frames{}
	f, err := h.Feed(ctx, "t", realtime.Start{After: 1, HasAfter: true}, s)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.CatchUp(ctx, func(context.Context) error { return nil }))
	require.Equal(t, int64(3), s.seq())
	require.Equal(t, 1, s.resets)
	again, err := h.Feed(ctx, "t", realtime.Start{After: 3, HasAfter: true}, &frames{})
	require.NoError(t, err)
	defer again.Close()
	require.True(t, again.Cut)

	sub, err := h.SubscribeFrom(ctx, "t", realtime.Start{After: 1, HasAfter: true})
	require.NoError(t, err)
	defer sub.Close()
	got, err := collect(ctx, sub, 10)
	var reset *realtime.ResetError
	require.ErrorAs(t, err, &reset)
	require.Equal(t, []int64{2, 3}, got)
	require.Equal(t, int64(10), reset.At.Seq)
}

func TestAFeedThatIsClosedDeliversNothingMore(t *testing.T) {
	log := newLog()
	h := startHub(t, startRedis(t).addr(), log)
	ctx := within(t, 10*time.Second)
	s := &frames{}
	f, err := h.Feed(ctx, "t", realtime.Start{}, s)
	require.NoError(t, err)
	require.NoError(t, f.CatchUp(ctx, func(context.Context) error { return nil }))
	f.Close()
	require.NoError(t, h.Publish(ctx, "t", log.append("t", 1)...))
	require.Empty(t, s.all())
}

func TestManyWhoComeBackAtOnceShareOneCopyOfWhatTheyMissed(t *testing.T) {
	log := newLog()
	h := startHub(t, startRedis(t).addr(), log)
	ctx := within(t, 10*time.Second)
	keep, err := h.Subscribe(ctx, "t")
	require.NoError(t, err)
	defer keep.Close()
	require.NoError(t, h.Publish(ctx, "t", log.append("t", 100)...))
	_, err = collect(ctx, keep, 100)
	require.NoError(t, err)
	log.mu.Lock()
	before := log.reads
	log.mu.Unlock()
	for range 50 {
		s, err := h.SubscribeFrom(ctx, "t", realtime.Start{After: 40, HasAfter: true, Epoch: "e1"})
		require.NoError(t, err)
		got, err := collect(ctx, s, 100)
		require.NoError(t, err)
		require.Equal(t, numbers(41, 100), got)
		s.Close()
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	require.LessOrEqual(t, log.reads, before+1, "the comparison after the subscription at Redis may be one")
}
