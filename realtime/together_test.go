package realtime_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/realtime"
)

// TestWhoSpeaksAtOnceIsHeardWholeAndInOrder: many publish at the same moment, each on
// a topic of its own and, in the same call, on one that all share. Notices have no
// numbers and are in no log, so nothing could mend one that was lost, doubled or late.
func TestWhoSpeaksAtOnceIsHeardWholeAndInOrder(t *testing.T) {
	onBothServers(t, func(t *testing.T, addr string) {
		const speakers, notices = 12, 40
		a, b := startHub(t, addr, newLog()), startHub(t, addr, newLog())
		ctx := within(t, 20*time.Second)
		topic := func(i int) string { return fmt.Sprintf("org:1:user:%d", i) }
		subs := make([]*realtime.Subscription, speakers+1) // the last is of the shared topic
		for i := range subs {
			var err error
			subs[i], err = b.Subscribe(ctx, topic(i))
			require.NoError(t, err)
			defer subs[i].Close()
		}
		// What is said before Redis has confirmed a subscription is not heard.
		const ready = `"ready"`
		for i, s := range subs {
			for {
				require.NoError(t, a.PublishAll(ctx, realtime.Publication{Topic: topic(i), Messages: []realtime.Message{{Event: "notice", Payload: []byte(ready)}}}))
				brief, stop := context.WithTimeout(ctx, 50*time.Millisecond)
				ds, err := s.Next(brief)
				stop()
				if len(ds) > 0 {
					break
				}
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.NoError(t, ctx.Err())
			}
		}
		var wg sync.WaitGroup
		for i := range speakers {
			wg.Go(func() {
				for n := range notices {
					m := realtime.Message{Event: "notice", Payload: fmt.Appendf(nil, `"%d:%d"`, i, n)}
					err := a.PublishAll(ctx, realtime.Publication{Topic: topic(i), Messages: []realtime.Message{m}},
						realtime.Publication{Topic: topic(speakers), Messages: []realtime.Message{m}})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		heard := func(s *realtime.Subscription, want int) map[int][]int {
			by, count := map[int][]int{}, 0
			for count < want {
				ds, err := s.Next(ctx)
				require.NoError(t, err)
				for _, d := range ds {
					if string(d.Payload) == ready {
						continue
					}
					var i, n int
					_, err := fmt.Sscanf(string(d.Payload), `"%d:%d"`, &i, &n)
					require.NoError(t, err)
					by[i] = append(by[i], n)
					count++
				}
			}
			return by
		}
		all := make([]int, notices)
		for n := range all {
			all[n] = n
		}
		for i := range speakers {
			require.Equal(t, map[int][]int{i: all}, heard(subs[i], notices))
		}
		for i, got := range heard(subs[speakers], speakers*notices) {
			require.Equal(t, all, got, "speaker %d on the shared topic", i)
		}
		wg.Wait()
	})
}
