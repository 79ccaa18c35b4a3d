package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/realtime"
)

// regions is a projector with one region per number.
type regions struct {
	log     *memoryLog
	topic   string
	at      realtime.Position
	flushed int64
	loads   *atomic.Int32
	bad     func(m realtime.Message) error
}

func (r *regions) Load(ctx context.Context) (realtime.Position, error) {
	r.loads.Add(1)
	p, err := r.log.ReadLog(ctx, r.topic, 0, 0)
	if err != nil {
		return realtime.Position{}, err
	}
	r.at = realtime.Position{Seq: p.Head, Epoch: p.Epoch}
	r.flushed = r.at.Seq
	return r.at, nil
}

func (r *regions) Apply(m realtime.Message) error {
	if r.bad != nil {
		if err := r.bad(m); err != nil {
			return err
		}
	}
	if m.First() != r.at.Seq+1 {
		return fmt.Errorf("number %d after %d", m.First(), r.at.Seq)
	}
	r.at = realtime.Position{Seq: m.Seq, Epoch: m.Epoch}
	return nil
}

func (r *regions) Changed(after int64) ([]byte, error) {
	p := realtime.Patch{Seq: r.at.Seq}
	for n := after + 1; n <= r.at.Seq; n++ {
		p.Regions = append(p.Regions, realtime.Region{ID: fmt.Sprintf("r%d", n), HTML: fmt.Sprintf("<p id=r%d>&amp;</p>", n)})
	}
	if len(p.Regions) == 0 {
		return nil, nil
	}
	return p.Encode()
}

func (r *regions) Flush() ([]byte, error) {
	b, err := r.Changed(r.flushed)
	r.flushed = r.at.Seq
	return b, err
}

// frames is a sink that keeps what it gets.
type frames struct {
	mu     sync.Mutex
	got    []*realtime.Delivery
	times  []time.Time
	resets int
}

func (f *frames) Deliver(d *realtime.Delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, d)
	f.times = append(f.times, time.Now())
}

func (f *frames) Reset(realtime.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resets++
}

func (f *frames) all() []*realtime.Delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*realtime.Delivery(nil), f.got...)
}

func (f *frames) seq() int64 {
	all := f.all()
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1].Seq
}

func TestAViewIsRenderedOnceForAllAndNoMoreThanTwelveTimesASecond(t *testing.T) {
	log := newLog()
	h := startHub(t, miniredis.RunT(t).Addr(), log)
	ctx := within(t, 20*time.Second)
	log.append("t", 10)
	var loads atomic.Int32
	join := func(after int64) (*realtime.View, *frames) {
		f := &frames{}
		v, err := h.Project(ctx, "t", "html/en", func() realtime.Projector {
			return &regions{log: log, topic: "t", loads: &loads}
		}, realtime.Start{After: after, HasAfter: true, Epoch: "e1"}, f)
		require.NoError(t, err)
		v.Begin()
		t.Cleanup(v.Close)
		return v, f
	}
	_, first := join(10)
	require.Empty(t, first.all(), "nothing changed since the page was rendered")

	begun := time.Now()
	require.NoError(t, h.Publish(ctx, "t", log.append("t", 1)...))
	require.Eventually(t, func() bool { return first.seq() == 11 }, 5*time.Second, time.Millisecond)
	require.Less(t, time.Since(begun), 80*time.Millisecond, "the first change after quiet goes out at once")

	_, second := join(3)
	catchUp := second.all()
	require.Len(t, catchUp, 1, "one frame with every region since, as of one number")
	var p realtime.Patch
	require.NoError(t, json.Unmarshal(catchUp[0].Payload, &p))
	require.Equal(t, int64(11), p.Seq)
	require.Len(t, p.Regions, 8)
	require.Contains(t, string(catchUp[0].Payload), "<p id=r4>&amp;</p>")

	streamed := time.Now()
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	for range 60 { // 60 changes in about 0.6 s
		require.NoError(t, h.Publish(ctx, "t", log.append("t", 1)...))
		<-pace.C
	}
	require.Eventually(t, func() bool { return first.seq() == 71 && second.seq() == 71 }, 5*time.Second, time.Millisecond)
	most := int(time.Since(streamed).Seconds()*12) + 2
	require.LessOrEqual(t, len(first.all())-1, most)
	last := func(f *frames) *realtime.Delivery { a := f.all(); return a[len(a)-1] }
	require.Same(t, last(first), last(second), "made once for all")
	require.Equal(t, int32(1), loads.Load())
}

func TestNoticesPassThroughAProjection(t *testing.T) {
	log := newLog()
	h := startHub(t, miniredis.RunT(t).Addr(), log)
	ctx := within(t, 10*time.Second)
	f := &frames{}
	v, err := h.Project(ctx, "t", "html", func() realtime.Projector {
		return &regions{log: log, topic: "t", loads: new(atomic.Int32)}
	}, realtime.Start{}, f)
	require.NoError(t, err)
	defer v.Close()
	v.Begin()
	require.Eventually(t, func() bool {
		_ = h.Publish(ctx, "t", realtime.Message{Event: "notice", Payload: []byte(`{"text":"x"}`)})
		all := f.all()
		return len(all) > 0 && all[0].Event == "notice"
	}, 5*time.Second, 20*time.Millisecond)
}

func TestAFailingProjectorSendsItsWatchersToJoinAgain(t *testing.T) {
	for name, bad := range map[string]func(realtime.Message) error{
		"Error": func(m realtime.Message) error { return errors.New("cannot apply") },
		"Panic": func(m realtime.Message) error { panic("broken projector") },
	} {
		t.Run(name, func(t *testing.T) {
			log := newLog()
			h := startHub(t, miniredis.RunT(t).Addr(), log)
			ctx := within(t, 10*time.Second)
			var loads atomic.Int32
			broken := bad
			project := func(f *frames) (*realtime.View, error) {
				return h.Project(ctx, "t", "html", func() realtime.Projector {
					r := &regions{log: log, topic: "t", loads: &loads, bad: broken}
					return r
				}, realtime.Start{}, f)
			}
			f := &frames{}
			v, err := project(f)
			require.NoError(t, err)
			v.Begin()
			require.NoError(t, h.Publish(ctx, "t", log.append("t", 1)...))
			require.Eventually(t, func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.resets == 1 }, 5*time.Second, time.Millisecond)
			v.Close()

			broken = nil
			again := &frames{}
			v, err = project(again)
			require.NoError(t, err)
			defer v.Close()
			v.Begin()
			require.NoError(t, h.Publish(ctx, "t", log.append("t", 1)...))
			require.Eventually(t, func() bool { return again.seq() == 2 }, 5*time.Second, time.Millisecond)
			require.Equal(t, int32(2), loads.Load())
		})
	}
}

func TestAProjectionEndsSomeTimeAfterItsLastWatcher(t *testing.T) {
	log := newLog()
	h := startHub(t, miniredis.RunT(t).Addr(), log)
	ctx := within(t, 10*time.Second)
	var loads atomic.Int32
	join := func() *realtime.View {
		v, err := h.Project(ctx, "t", "html", func() realtime.Projector {
			return &regions{log: log, topic: "t", loads: &loads}
		}, realtime.Start{}, &frames{})
		require.NoError(t, err)
		return v
	}
	join().Close()
	join().Close()
	require.Equal(t, int32(1), loads.Load(), "a reload of the page finds it still there")
	require.Eventually(t, func() bool { join().Close(); return loads.Load() > 1 }, 8*time.Second, 700*time.Millisecond)
}

func TestASlowProjectorLoadFailureIsToldToTheJoin(t *testing.T) {
	log := newLog()
	h := startHub(t, miniredis.RunT(t).Addr(), log)
	log.setBroken(true)
	_, err := h.Project(within(t, 5*time.Second), "t", "html", func() realtime.Projector {
		return &regions{log: log, topic: "t", loads: new(atomic.Int32)}
	}, realtime.Start{}, &frames{})
	require.ErrorContains(t, err, "database is away")
}
