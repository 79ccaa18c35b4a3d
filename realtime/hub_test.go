package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/heddle/heddle/realtime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memoryLog is a log whose numbers are dense, as the store's are.
type memoryLog struct {
	mu     sync.Mutex
	topics map[string]*memoryTopic
	broken bool
	reads  int
}

type memoryTopic struct {
	epoch string
	rows  []realtime.Message
	head  int64
}

func newLog() *memoryLog { return &memoryLog{topics: map[string]*memoryTopic{}} }

func (l *memoryLog) topic(name string) *memoryTopic {
	if l.topics[name] == nil {
		l.topics[name] = &memoryTopic{epoch: "e1"}
	}
	return l.topics[name]
}

func (l *memoryLog) append(topic string, n int) []realtime.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.topic(topic)
	var made []realtime.Message
	for range n {
		t.head++
		made = append(made, realtime.Message{Event: "envelope", Seq: t.head, Epoch: t.epoch,
			Payload: fmt.Appendf(nil, `{"seq":%d}`, t.head)})
	}
	t.rows = append(t.rows, made...)
	return made
}

// compact replaces the rows from first to last by one.
func (l *memoryLog) compact(topic string, first, last int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.topic(topic)
	var rows []realtime.Message
	for _, m := range t.rows {
		switch {
		case m.Seq == last:
			m.From = first
		case m.Seq >= first && m.Seq < last:
			continue
		}
		rows = append(rows, m)
	}
	t.rows = rows
}

// trim forgets the oldest rows, as retention does; an empty epoch keeps the old one.
func (l *memoryLog) trim(topic, epoch string, upto int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.topic(topic)
	for len(t.rows) > 0 && t.rows[0].Seq <= upto {
		t.rows = t.rows[1:]
	}
	if epoch != "" {
		t.epoch = epoch
	}
}

// cut forgets everything and begins a new epoch at head.
func (l *memoryLog) cut(topic, epoch string, head int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.topics[topic] = &memoryTopic{epoch: epoch, head: head}
}

func (l *memoryLog) setBroken(b bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = b
}

func (l *memoryLog) ReadLog(ctx context.Context, topic string, after int64, limit int) (realtime.Page, error) {
	if err := ctx.Err(); err != nil {
		return realtime.Page{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	if l.broken {
		return realtime.Page{}, errors.New("database is away")
	}
	t := l.topic(topic)
	p := realtime.Page{Head: t.head, Epoch: t.epoch}
	for _, m := range t.rows {
		if m.Seq <= after {
			continue
		}
		if len(p.Messages) == limit {
			p.More = limit > 0
			break
		}
		p.Messages = append(p.Messages, m)
	}
	return p, nil
}

func (l *memoryLog) ReadHeads(ctx context.Context, topics []string) ([]realtime.Page, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	if l.broken {
		return nil, errors.New("database is away")
	}
	heads := make([]realtime.Page, len(topics))
	for i, name := range topics {
		t := l.topic(name)
		heads[i] = realtime.Page{Head: t.head, Epoch: t.epoch}
	}
	return heads, nil
}

// startHub runs a hub until the test ends.
func startHub(t *testing.T, addr string, log realtime.LogReader, change ...func(*realtime.Options)) *realtime.Hub {
	t.Helper()
	o := realtime.Options{Redis: newClient(t, addr), Log: log, Logger: slog.New(slog.DiscardHandler),
		PingEvery: 500 * time.Millisecond, DegradedEvery: 200 * time.Millisecond, Linger: 300 * time.Millisecond}
	for _, c := range change {
		c(&o)
	}
	h := realtime.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = h.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	waitConnected(t, h)
	return h
}

func waitConnected(t *testing.T, h *realtime.Hub) {
	t.Helper()
	require.Eventually(t, func() bool { return h.State().Connected }, 10*time.Second, 5*time.Millisecond)
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// collect pulls until the number last has come and returns all numbers.
func collect(ctx context.Context, s *realtime.Subscription, last int64) ([]int64, error) {
	var got []int64
	for {
		ds, err := s.Next(ctx)
		if err != nil {
			return got, err
		}
		for _, d := range ds {
			if d.Seq == 0 {
				continue
			}
			for n := d.First(); n <= d.Seq; n++ {
				got = append(got, n)
			}
			if d.Seq >= last {
				return got, nil
			}
		}
	}
}

func numbers(from, to int64) []int64 {
	var ns []int64
	for n := from; n <= to; n++ {
		ns = append(ns, n)
	}
	return ns
}

func TestAMessageReachesWatchersOfEveryNodeByteForByte(t *testing.T) {
	onBothServers(t, func(t *testing.T, addr string) {
		log := newLog()
		a, b := startHub(t, addr, log), startHub(t, addr, log)
		ctx := within(t, 10*time.Second)
		here, err := a.Subscribe(ctx, "org:1:thread:1")
		require.NoError(t, err)
		defer here.Close()
		there, err := b.Subscribe(ctx, "org:1:thread:1")
		require.NoError(t, err)
		defer there.Close()

		m := log.append("org:1:thread:1", 1)[0]
		m.Payload = []byte("{\"text\": \"a  b\\n\u2028 \x00ü\"}  ")
		require.NoError(t, a.Publish(ctx, "org:1:thread:1", m))
		for _, s := range []*realtime.Subscription{here, there} {
			ds, err := s.Next(ctx)
			require.NoError(t, err)
			require.Len(t, ds, 1)
			require.Equal(t, int64(1), ds[0].Seq)
		}
	})
}

func TestEveryNumberArrivesOnceAndInOrderWhateverRedisLoses(t *testing.T) {
	onBothServers(t, func(t *testing.T, addr string) {
		const topic, last = "org:1:thread:9", 600
		log := newLog()
		a := startHub(t, addr, log)
		b := startHub(t, addr, log)
		ctx := within(t, 30*time.Second)
		log.append(topic, 40)

		var wg sync.WaitGroup
		for i, h := range []*realtime.Hub{a, b, a, b} {
			after := int64(i * 13)
			wg.Go(func() {
				at := after
				var got []int64
				for at < last { // leaves and comes back now and then
					s, err := h.SubscribeFrom(ctx, topic, realtime.Start{After: at, HasAfter: true, Epoch: "e1"})
					if err != nil || s.Cut {
						t.Errorf("subscribing after %d: %v", at, err)
						return
					}
					part, err := collect(ctx, s, min(last, at+1+rand.Int64N(200)))
					s.Close()
					if err != nil {
						t.Errorf("watching after %d: %v", at, err)
						return
					}
					got = append(got, part...)
					at = got[len(got)-1]
				}
				if diff := fmt.Sprint(got) == fmt.Sprint(numbers(after+1, got[len(got)-1])); !diff {
					t.Errorf("watcher after %d got %v", after, got)
				}
			})
		}
		for sent := 40; sent < last; {
			n := min(1+rand.IntN(5), last-sent)
			ms := log.append(topic, n)
			sent += n
			h := []*realtime.Hub{a, b}[rand.IntN(2)]
			switch rand.IntN(5) {
			case 0: // lost on the way
				if sent < last {
					continue
				}
			case 1: // overtaken
				rand.Shuffle(len(ms), func(i, j int) { ms[i], ms[j] = ms[j], ms[i] })
			case 2: // twice
				ms = append(ms, ms...)
			}
			require.NoError(t, h.Publish(ctx, topic, ms...))
		}
		wg.Wait()
	})
}

func TestAWatcherThatPullsSlowlyMissesNothing(t *testing.T) {
	onBothServers(t, func(t *testing.T, addr string) {
		log := newLog()
		h := startHub(t, addr, log)
		ctx := within(t, 20*time.Second)
		s, err := h.Subscribe(ctx, "slow")
		require.NoError(t, err)
		defer s.Close()
		for range 30 {
			require.NoError(t, h.Publish(ctx, "slow", log.append("slow", 100)...))
		}
		got, err := collect(ctx, s, 3000)
		require.NoError(t, err)
		require.Equal(t, numbers(1, 3000), got)
	})
}

func TestAfterRedisIsKilledAndBackNothingIsMissing(t *testing.T) {
	server := startRedis(t)
	log := newLog()
	quick := func(o *realtime.Options) { o.CheckEvery = time.Hour; o.DegradedEvery = time.Hour }
	a, b := startHub(t, server.addr(), log, quick), startHub(t, server.addr(), log, quick)
	ctx := within(t, 40*time.Second)
	here, err := a.Subscribe(ctx, "t")
	require.NoError(t, err)
	defer here.Close()
	there, err := b.Subscribe(ctx, "t")
	require.NoError(t, err)
	defer there.Close()

	require.NoError(t, a.Publish(ctx, "t", log.append("t", 50)...))
	got, err := collect(ctx, there, 50)
	require.NoError(t, err)
	require.Equal(t, numbers(1, 50), got)

	server.kill()
	// This node's watchers go on while Redis is away.
	begun := time.Now()
	require.Error(t, a.Publish(ctx, "t", log.append("t", 50)...))
	got, err = collect(ctx, here, 100)
	require.NoError(t, err)
	require.Equal(t, numbers(1, 100), got)
	require.Less(t, time.Since(begun), 3*time.Second)
	begun = time.Now()
	for range 100 { // the outage is known: nobody waits for it again
		require.Error(t, a.Publish(ctx, "other", log.append("other", 1)...))
	}
	require.Less(t, time.Since(begun), 500*time.Millisecond)
	require.Eventually(t, func() bool { return !a.State().Connected && !b.State().Connected }, 10*time.Second, 5*time.Millisecond)
	require.NotEmpty(t, b.State().Reason)

	server.start()
	waitConnected(t, a)
	waitConnected(t, b)
	// Nothing new is published: the hole closes by itself.
	got, err = collect(ctx, there, 100)
	require.NoError(t, err)
	require.Equal(t, numbers(51, 100), got)
	require.Eventually(t, func() bool {
		return a.Publish(ctx, "t", log.append("t", 1)...) == nil
	}, 5*time.Second, 50*time.Millisecond)
	_, err = collect(ctx, there, 101)
	require.NoError(t, err)
}

func TestAStreamOutlivesRedisKilledInItsMiddle(t *testing.T) {
	server := startRedis(t)
	log := newLog()
	a, b := startHub(t, server.addr(), log), startHub(t, server.addr(), log)
	ctx := within(t, 60*time.Second)
	const last = 1200
	got := make([][]int64, 2)
	var wg sync.WaitGroup
	for i, h := range []*realtime.Hub{a, b} {
		s, err := h.Subscribe(ctx, "t")
		require.NoError(t, err)
		defer s.Close()
		wg.Go(func() {
			var err error
			if got[i], err = collect(ctx, s, last); err != nil {
				t.Error(err)
			}
		})
	}
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for n := range last {
		switch n {
		case 300, 700:
			server.kill()
		case 500, 900:
			server.start()
		}
		<-pace.C
		_ = a.Publish(ctx, "t", log.append("t", 1)...) // fails while Redis is away
	}
	published := time.Now()
	wg.Wait()
	require.Less(t, time.Since(published), 3*time.Second)
	require.Equal(t, numbers(1, last), got[0])
	require.Equal(t, numbers(1, last), got[1])
}

func TestWhileRedisIsAwayOtherNodesReadTheLog(t *testing.T) {
	server := startRedis(t)
	log := newLog()
	a, b := startHub(t, server.addr(), log), startHub(t, server.addr(), log)
	ctx := within(t, 20*time.Second)
	there, err := b.Subscribe(ctx, "t")
	require.NoError(t, err)
	defer there.Close()
	server.kill()
	require.Eventually(t, func() bool { return !b.State().Connected }, 10*time.Second, 5*time.Millisecond)
	_ = a.Publish(ctx, "t", log.append("t", 3)...)
	got, err := collect(ctx, there, 3)
	require.NoError(t, err)
	require.Equal(t, numbers(1, 3), got)
}

func TestAMessageLostSilentlyIsFoundByThePositionCheck(t *testing.T) {
	onBothServers(t, func(t *testing.T, addr string) {
		log := newLog()
		h := startHub(t, addr, log, func(o *realtime.Options) { o.CheckEvery = 300 * time.Millisecond })
		ctx := within(t, 10*time.Second)
		s, err := h.Subscribe(ctx, "t")
		require.NoError(t, err)
		defer s.Close()
		log.append("t", 2) // committed, never published
		got, err := collect(ctx, s, 2)
		require.NoError(t, err)
		require.Equal(t, numbers(1, 2), got)
	})
}

func TestNoticesReachEveryNodeOnce(t *testing.T) {
	onBothServers(t, func(t *testing.T, addr string) {
		a, b := startHub(t, addr, nil), startHub(t, addr, nil)
		ctx, cancel := context.WithCancel(within(t, 10*time.Second))
		heard := make(chan string, 100)
		var wg sync.WaitGroup
		for name, h := range map[string]*realtime.Hub{"a": a, "b": b} {
			wg.Go(func() {
				_ = h.Listen(ctx, "sys:wake", func(m realtime.Message) { heard <- name + string(m.Payload) })
			})
		}
		// The first ones may come before the subscriptions stand.
		c := newClient(t, addr)
		require.Eventually(t, func() bool {
			n := c.PubSubNumSub(ctx, "heddle:sys:wake").Val()
			return n["heddle:sys:wake"] == 2
		}, 5*time.Second, 5*time.Millisecond)
		require.Eventually(t, func() bool {
			_ = a.Publish(ctx, "sys:wake", realtime.Message{Event: "wake", Payload: []byte(`"probe"`)})
			return len(heard) >= 2
		}, 5*time.Second, 20*time.Millisecond)
		require.NoError(t, a.Publish(ctx, "sys:wake", realtime.Message{Event: "wake", Payload: []byte(`"end"`)}))
		ends := map[string]int{}
		for ends[`a"end"`] == 0 || ends[`b"end"`] == 0 {
			select {
			case s := <-heard:
				ends[s]++
			case <-ctx.Done():
				t.Fatal("a notice did not arrive")
			}
		}
		require.Equal(t, 1, ends[`a"end"`])
		require.Equal(t, 1, ends[`b"end"`])
		cancel()
		wg.Wait()
	})
}

func TestACutLogTellsItsWatchers(t *testing.T) {
	onBothServers(t, func(t *testing.T, addr string) {
		log := newLog()
		h := startHub(t, addr, log)
		ctx := within(t, 10*time.Second)
		log.append("t", 10)
		s, err := h.SubscribeFrom(ctx, "t", realtime.Start{After: 4, HasAfter: true, Epoch: "e1"})
		require.NoError(t, err)
		defer s.Close()
		got, err := collect(ctx, s, 10)
		require.NoError(t, err)
		require.Equal(t, numbers(5, 10), got)

		log.cut("t", "e2", 7)
		require.NoError(t, h.Publish(ctx, "t", log.append("t", 1)...))
		_, err = s.Next(ctx)
		var reset *realtime.ResetError
		require.ErrorAs(t, err, &reset)
		require.Equal(t, realtime.Position{Seq: 8, Epoch: "e2"}, reset.At)
		require.NoError(t, h.Publish(ctx, "t", log.append("t", 1)...))
		got, err = collect(ctx, s, 9)
		require.NoError(t, err)
		require.Equal(t, []int64{9}, got)

		old, err := h.SubscribeFrom(ctx, "t", realtime.Start{After: 4, HasAfter: true, Epoch: "e1"})
		require.NoError(t, err)
		defer old.Close()
		require.True(t, old.Cut)
		require.Equal(t, realtime.Position{Seq: 9, Epoch: "e2"}, old.At)
	})
}

// TestWhoeverStandsBeforeWhatALogHasStartsAnew is about rows that are missing at
// the front: some or all of them, known by another epoch or by the hole alone.
func TestWhoeverStandsBeforeWhatALogHasStartsAnew(t *testing.T) {
	for name, c := range map[string]struct {
		epoch string
		upto  int64
	}{"some, by a new epoch": {"e2", 6}, "some, by the hole": {"", 6}, "all, by a new epoch": {"e2", 10}, "all, by the hole": {"", 10}} {
		t.Run(name, func(t *testing.T) {
			log := newLog()
			log.append("t", 10)
			log.trim("t", c.epoch, c.upto)
			h := startHub(t, startRedis(t).addr(), log)
			ctx := within(t, 10*time.Second)
			now := "e1"
			if c.epoch != "" {
				now = c.epoch
			}
			for _, epoch := range []string{"", now, "e1"} {
				for after := range int64(10) {
					s, err := h.SubscribeFrom(ctx, "t", realtime.Start{After: after, HasAfter: true, Epoch: epoch})
					require.NoError(t, err)
					want := after < c.upto || epoch != "" && epoch != now
					require.Equal(t, want, s.Cut, "after %d of %q", after, epoch)
					sink := &frames{}
					f, err := h.Feed(ctx, "t", realtime.Start{After: after, HasAfter: true, Epoch: epoch}, sink)
					require.NoError(t, err)
					require.Equal(t, want, f.Cut, "after %d of %q", after, epoch)
					require.NoError(t, f.CatchUp(ctx, func(ctx context.Context) error { return ctx.Err() }))
					if want {
						require.Equal(t, realtime.Position{Seq: 10, Epoch: now}, s.At)
						require.Empty(t, sink.all())
					} else {
						got, err := collect(ctx, s, 10)
						require.NoError(t, err)
						require.Equal(t, numbers(after+1, 10), got)
						require.Equal(t, int64(10), sink.seq())
					}
					s.Close()
					f.Close()
				}
			}
		})
	}
}

func TestALogThatIsCutUnderAWatcherWhoCatchesUpTellsIt(t *testing.T) {
	log := newLog()
	log.append("t", 600) // more than a page
	h := startHub(t, startRedis(t).addr(), log)
	ctx := within(t, 10*time.Second)
	s, err := h.SubscribeFrom(ctx, "t", realtime.Start{HasAfter: true, Epoch: "e1"})
	require.NoError(t, err)
	defer s.Close()
	sink := &frames{}
	f, err := h.Feed(ctx, "t", realtime.Start{HasAfter: true, Epoch: "e1"}, sink)
	require.NoError(t, err)
	defer f.Close()
	log.trim("t", "", 600)
	require.NoError(t, f.CatchUp(ctx, func(ctx context.Context) error { return ctx.Err() }))
	require.Equal(t, int64(256), sink.seq(), "what was read before")
	require.Equal(t, 1, sink.resets) // CatchUp has returned
	_, err = collect(ctx, s, 600)
	var reset *realtime.ResetError
	require.ErrorAs(t, err, &reset)
	require.Equal(t, realtime.Position{Seq: 600, Epoch: "e1"}, reset.At)
	require.NoError(t, h.Publish(ctx, "t", log.append("t", 1)...))
	got, err := collect(ctx, s, 601)
	require.NoError(t, err)
	require.Equal(t, []int64{601}, got)
}

func TestEveryNodeIsToldOfACut(t *testing.T) {
	onBothServers(t, func(t *testing.T, addr string) {
		log := newLog()
		log.append("t", 5)
		hubs := []*realtime.Hub{startHub(t, addr, log), startHub(t, addr, log)}
		ctx := within(t, 10*time.Second)
		var watchers []*realtime.Subscription
		for _, h := range hubs {
			s, err := h.Subscribe(ctx, "t")
			require.NoError(t, err)
			defer s.Close()
			watchers = append(watchers, s)
		}
		c := newClient(t, addr)
		require.Eventually(t, func() bool { return c.PubSubNumSub(ctx, "heddle:t").Val()["heddle:t"] == 2 }, 5*time.Second, 5*time.Millisecond)
		log.trim("t", "e2", 5)
		hubs[0].Recheck(ctx, "t")
		for _, s := range watchers {
			_, err := s.Next(ctx)
			var reset *realtime.ResetError
			require.ErrorAs(t, err, &reset)
			require.Equal(t, realtime.Position{Seq: 5, Epoch: "e2"}, reset.At)
		}
		// Where nobody was told, whoever comes from beyond the cut says so.
		log.trim("t", "e3", 5)
		for i, h := range hubs {
			s, err := h.SubscribeFrom(ctx, "t", realtime.Start{After: 5, HasAfter: true, Epoch: "e3"})
			require.NoError(t, err)
			defer s.Close()
			_, err = watchers[i].Next(ctx)
			var reset *realtime.ResetError
			require.ErrorAs(t, err, &reset)
			require.Equal(t, "e3", reset.At.Epoch)
		}
	})
}

func TestWhatADeadNodeDidNotPublishIsFoundOnceSomebodySaysThatItIsDead(t *testing.T) {
	onBothServers(t, func(t *testing.T, addr string) {
		log := newLog()
		rare := func(o *realtime.Options) { o.CheckEvery = time.Hour }
		hubs := []*realtime.Hub{startHub(t, addr, log, rare), startHub(t, addr, log, rare)}
		ctx := within(t, 10*time.Second)
		var watchers []*realtime.Subscription
		for _, h := range hubs {
			require.Eventually(t, func() bool { return h.State().Connected }, 5*time.Second, 5*time.Millisecond)
			for _, topic := range []string{"t", "u"} {
				s, err := h.Subscribe(ctx, topic)
				require.NoError(t, err)
				defer s.Close()
				watchers = append(watchers, s)
			}
		}
		log.append("t", 3) // nobody says so
		log.append("u", 3)
		hubs[0].RecheckAll(ctx)
		for _, s := range watchers {
			got, err := collect(ctx, s, 3)
			require.NoError(t, err)
			require.Equal(t, []int64{1, 2, 3}, got)
		}
	})
}

func TestALogThatWasCutBeforeTheHubReadItIsNoticed(t *testing.T) {
	log := newLog()
	log.append("t", 5)
	h := startHub(t, startRedis(t).addr(), log, func(o *realtime.Options) { o.CheckEvery = 200 * time.Millisecond })
	ctx := within(t, 10*time.Second)
	s, err := h.Subscribe(ctx, "t")
	require.NoError(t, err)
	defer s.Close()
	log.cut("t", "e1", 10) // five more came and went, and nobody said so
	_, err = s.Next(ctx)
	var reset *realtime.ResetError
	require.ErrorAs(t, err, &reset)
	require.Equal(t, realtime.Position{Seq: 10, Epoch: "e1"}, reset.At)
}

func TestAWatcherInsideACompactedRangeStartsAnew(t *testing.T) {
	log := newLog()
	h := startHub(t, startRedis(t).addr(), log)
	ctx := within(t, 10*time.Second)
	log.append("t", 10)
	log.compact("t", 3, 8)
	at := func(after int64) *realtime.Subscription {
		s, err := h.SubscribeFrom(ctx, "t", realtime.Start{After: after, HasAfter: true, Epoch: "e1"})
		require.NoError(t, err)
		t.Cleanup(s.Close)
		return s
	}
	require.True(t, at(5).Cut)
	for _, after := range []int64{0, 2, 8, 10} {
		s := at(after)
		require.False(t, s.Cut, after)
		if after < 10 {
			got, err := collect(ctx, s, 10)
			require.NoError(t, err)
			require.Equal(t, numbers(after+1, 10), got)
		}
	}
	// A watcher that has more than the log is told as well.
	require.True(t, at(11).Cut)
}

func TestATopicIsLeftSomeTimeAfterItsLastWatcher(t *testing.T) {
	onBothServers(t, func(t *testing.T, addr string) {
		h := startHub(t, addr, newLog())
		ctx := within(t, 10*time.Second)
		c := newClient(t, addr)
		count := func() int64 { return c.PubSubNumSub(ctx, "heddle:t").Val()["heddle:t"] }
		s, err := h.Subscribe(ctx, "t")
		require.NoError(t, err)
		require.Eventually(t, func() bool { return count() == 1 }, 5*time.Second, 5*time.Millisecond)
		s.Close()
		require.Equal(t, int64(1), count())
		require.Eventually(t, func() bool { return count() == 0 }, 5*time.Second, 5*time.Millisecond)
	})
}

func TestWithoutTheLogAWatcherIsRefusedAndLaterServed(t *testing.T) {
	log := newLog()
	h := startHub(t, startRedis(t).addr(), log)
	log.setBroken(true)
	_, err := h.Subscribe(within(t, 300*time.Millisecond), "t")
	require.ErrorContains(t, err, "cannot be read")
	log.setBroken(false)
	s, err := h.Subscribe(within(t, 5*time.Second), "t")
	require.NoError(t, err)
	s.Close()
}

func TestMessagesThatCouldNotBeToldApartAreRefused(t *testing.T) {
	h := realtime.New(realtime.Options{Redis: newClient(t, "127.0.0.1:1"), Logger: slog.New(slog.DiscardHandler)})
	for _, m := range []realtime.Message{
		{}, {Event: "two words"}, {Event: "e", Seq: 1}, {Event: "e", Seq: 1, Epoch: "a b"},
		{Event: "e", Seq: -1, Epoch: "e"}, {Event: "e", Seq: 2, From: 3, Epoch: "e"},
	} {
		require.ErrorContains(t, h.Publish(context.Background(), "t", m), "publishing on t", m)
	}
}

func TestGarbageOnTheWireIsIgnored(t *testing.T) {
	onBothServers(t, func(t *testing.T, addr string) {
		log := newLog()
		h := startHub(t, addr, log)
		ctx := within(t, 10*time.Second)
		s, err := h.Subscribe(ctx, "t")
		require.NoError(t, err)
		defer s.Close()
		c := newClient(t, addr)
		require.Eventually(t, func() bool { return c.PubSubNumSub(ctx, "heddle:t").Val()["heddle:t"] == 1 }, 5*time.Second, 5*time.Millisecond)
		for _, body := range []string{"", "envelope", "envelope x e1 {}", "envelope 1", "envelope 99999999999999999999 e1 {}", "envelope 1 other {}"} {
			require.NoError(t, c.Publish(ctx, "heddle:t", body).Err())
		}
		require.NoError(t, h.Publish(ctx, "t", log.append("t", 1)...))
		got, err := collect(ctx, s, 1)
		require.NoError(t, err)
		require.Equal(t, numbers(1, 1), got)
	})
}

// wire leads to a Redis and can be cut for a while.
type wire struct {
	t    *testing.T
	l    net.Listener
	to   string
	mu   sync.Mutex
	cut  bool
	open []net.Conn
	wg   sync.WaitGroup
}

func newWire(t *testing.T, to string) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{t: t, l: l, to: to}
	w.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", to)
			w.mu.Lock()
			if err != nil || w.cut {
				_ = c.Close()
				if err == nil {
					_ = s.Close()
				}
				w.mu.Unlock()
				continue
			}
			w.open = append(w.open, c, s)
			w.mu.Unlock()
			for _, way := range [][2]net.Conn{{c, s}, {s, c}} {
				w.wg.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_, _ = way[0].Close(), way[1].Close()
				})
			}
		}
	})
	t.Cleanup(func() { _ = l.Close(); w.set(true); w.wg.Wait() })
	return w
}

func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	if cut {
		for _, c := range w.open {
			_ = c.Close()
		}
		w.open = nil
	}
}

func TestANodeThatLostRedisRemindsTheOthersAfterwards(t *testing.T) {
	server := startRedis(t)
	cable := newWire(t, server.addr())
	log := newLog()
	rarely := func(o *realtime.Options) { o.CheckEvery = time.Hour }
	a, b := startHub(t, cable.l.Addr().String(), log, rarely), startHub(t, server.addr(), log, rarely)
	ctx := within(t, 20*time.Second)
	there, err := b.Subscribe(ctx, "t")
	require.NoError(t, err)
	defer there.Close()
	// The comparison that follows the subscription must not be what finds it.
	require.NoError(t, a.Publish(ctx, "t", log.append("t", 1)...))
	_, err = collect(ctx, there, 1)
	require.NoError(t, err)

	cable.set(true)
	require.Error(t, a.Publish(ctx, "t", log.append("t", 2)...))
	cable.set(false)
	got, err := collect(ctx, there, 3)
	require.NoError(t, err)
	require.Equal(t, numbers(2, 3), got)
	require.True(t, b.State().Connected)
}

func TestWithoutRedisANoticeStillReachesThisNode(t *testing.T) {
	server := startRedis(t)
	h := startHub(t, server.addr(), nil)
	ctx := within(t, 10*time.Second)
	s, err := h.Subscribe(ctx, "sys:cancel")
	require.NoError(t, err)
	defer s.Close()
	server.kill()
	require.Error(t, h.Publish(ctx, "sys:cancel", realtime.Message{Event: "cancel", Payload: []byte(`"run"`)}))
	ds, err := s.Next(ctx)
	require.NoError(t, err)
	require.Equal(t, `"run"`, string(ds[0].Payload))
}
