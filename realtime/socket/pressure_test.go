package socket_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/realtime/socket"
)

func TestASlowReaderIsToldOfItsLagAndComesBackForTheRest(t *testing.T) {
	w := newWorlds(t, 1, func(o *socket.Options) { o.QueueBytes = 256 << 10 })[0]
	w.log.size = 16 << 10
	quick, slow := w.connect("max"), w.connect("mia")
	quick.join("room:a", `{}`)
	join, _ := slow.join("room:a", `{"after":0,"epoch":"e1"}`)

	const last = 1000                      // 16 MB, more than the kernel holds for a socket
	for n := int64(1); n <= last; n += 5 { // in step with the quick reader
		w.publish("org:1:room:a", 5)
		require.Equal(t, upTo(n, n+4), quick.seqs(5))
	}

	var got []int64
	lags := 0
	for len(got) < last {
		m := slow.next()
		switch m.event {
		case "envelope":
			require.Equal(t, join, *m.joinRef)
			got = append(got, int64(m.payload["seq"].(float64)))
		case "lag":
			lags++
			require.Equal(t, "room:a", m.payload["topic"])
			require.Equal(t, float64(len(got)), m.payload["from"])
			require.Equal(t, "phx_error", slow.next().event)
			join, _ = slow.join("room:a", fmt.Sprintf(`{"after":%d,"epoch":"e1"}`, len(got)))
		}
	}
	require.Equal(t, upTo(1, last), got)
	require.Positive(t, lags)
	require.Equal(t, int64(lags), w.server.Stats().Lags)
}

func TestAFrameBiggerThanTheQueueGoesThrough(t *testing.T) {
	w := newWorlds(t, 1)[0]
	c := w.connect("mia")
	join, _ := c.join("room:a", `{}`)
	ref := c.push(join, "room:a", "big", `{}`)
	for range 20 {
		c.push("", "phoenix", "heartbeat", `{}`)
	}
	status, _ := c.reply(ref)
	require.Equal(t, "ok", status)
	m := c.next()
	for m.event != "pushed" {
		m = c.next()
	}
	require.Greater(t, len(m.raw), 3<<20)
}

func TestALongReplayWaitsForItsReaderInsteadOfOverflowing(t *testing.T) {
	w := newWorlds(t, 1, func(o *socket.Options) { o.QueueBytes = 64 << 10; o.QueueFrames = 64 })[0]
	w.log.size = 4 << 10
	w.log.append("org:1:room:a", 3000)
	c := w.connect("mia")
	c.join("room:a", `{"after":0,"epoch":"e1"}`)
	require.Equal(t, upTo(1, 3000), c.seqs(3000))
}

func TestASocketThatReadsNothingIsClosedAndHoldsUpNobody(t *testing.T) {
	w := newWorlds(t, 1, func(o *socket.Options) { o.Stall = 300 * time.Millisecond })[0]
	w.log.size = 32 << 10
	stuck := w.connect("mia")
	stuck.join("room:a", `{}`)
	fine := w.connect("max")
	fine.join("room:a", `{}`)
	begun := time.Now()
	for n := int64(1); n <= 600; n += 10 { // 19 MB, in step with the one that reads
		w.publish("org:1:room:a", 10)
		require.Equal(t, upTo(n, n+9), fine.seqs(10))
	}
	require.Less(t, time.Since(begun), 10*time.Second)
	require.Eventually(t, func() bool { return w.server.Stats().Sockets == 1 }, 5*time.Second, 5*time.Millisecond)
}

func TestAClientThatSendsTooMuchIsRefusedThenClosed(t *testing.T) {
	w := newWorlds(t, 1, func(o *socket.Options) { o.PerSecond = 1; o.Burst = 5 })[0]
	c := w.connect("mia")
	for range 5 {
		c.push("", "phoenix", "heartbeat", `{}`)
		c.next()
	}
	status, response := c.reply(c.push("", "phoenix", "heartbeat", `{}`))
	require.Equal(t, "error", status)
	require.Equal(t, "limited", response["code"])
	for range 60 {
		if c.ws.WriteMessage(1, []byte(`[null,"1","phoenix","heartbeat",{}]`)) != nil {
			break
		}
	}
	code, _ := c.closed()
	require.Equal(t, socket.CloseTooMany, code)
}

func TestTopicsAndSocketsAreBounded(t *testing.T) {
	w := newWorlds(t, 1, func(o *socket.Options) { o.Topics = 3; o.PerKey = 2 })[0]
	c := w.connect("mia")
	for i := range 3 {
		c.join(fmt.Sprintf("room:%d", i), `{}`)
	}
	status, response := c.reply(c.push("", "room:3", "phx_join", `{}`))
	require.Equal(t, "error", status)
	require.Equal(t, "limited", response["code"])
	c.join("room:1", `{}`) // again is not one more

	w.connect("mia")
	require.Eventually(t, func() bool { return w.server.Stats().Sockets == 2 }, 5*time.Second, time.Millisecond)
	_, res, err := w.try(w.url(), map[string][]string{"Origin": {origin}, "Cookie": {"session=mia"}})
	require.Error(t, err)
	require.Equal(t, 429, res.StatusCode)
	w.connect("max")
}

func TestSocketsThatComeAllAtOnceAreBoundedToo(t *testing.T) {
	w := newWorlds(t, 1, func(o *socket.Options) { o.PerKey = 3 })[0]
	var wg sync.WaitGroup
	var served, refused atomic.Int32
	for range 20 {
		wg.Go(func() {
			ws, res, err := w.try(w.url(), map[string][]string{"Origin": {origin}, "Cookie": {"session=mia"}})
			if err != nil {
				if res != nil && res.StatusCode == 429 {
					refused.Add(1)
				}
				return
			}
			t.Cleanup(func() { _ = ws.Close() })
			_ = ws.SetReadDeadline(time.Now().Add(5 * time.Second))
			_ = ws.WriteMessage(websocket.TextMessage, []byte(`[null,"1","phoenix","heartbeat",{}]`))
			if _, _, err := ws.ReadMessage(); websocket.IsCloseError(err, socket.CloseTooMany) {
				refused.Add(1)
			} else if err == nil {
				served.Add(1)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int32(3), served.Load())
	require.Equal(t, int32(17), refused.Load())
}

func TestATopicThatOneSocketHammersAnswersTheOthers(t *testing.T) {
	w := newWorlds(t, 1, func(o *socket.Options) { o.PerSecond = 1e6; o.Burst = 1e6 })[0]
	c := w.connect("mia")
	join, _ := c.join("room:a", `{}`)
	const n = 500
	go func() {
		for i := range n {
			_ = c.ws.WriteMessage(1, fmt.Appendf(nil, `[%q,"x%d","room:a","echo",{}]`, join, i))
		}
	}()
	got := map[string]int{}
	for range n {
		got[c.next().payload["status"].(string)]++
	}
	require.Equal(t, n, got["ok"]+got["error"])
	require.Positive(t, got["ok"])
}

func TestManySocketsAndTopicsKeepTheirOrder(t *testing.T) {
	ws := newWorlds(t, 2)
	const sockets, topics, last = 40, 8, 120
	var wg sync.WaitGroup
	for i := range sockets {
		c := ws[i%2].connect(fmt.Sprint("s", i))
		for k := range topics {
			c.join(fmt.Sprint("room:", k), `{"after":0,"epoch":"e1"}`)
		}
		wg.Go(func() {
			got := map[string][]int64{}
			for range topics * last {
				m, err := c.read()
				if err != nil {
					t.Error(err)
					return
				}
				got[m.topic] = append(got[m.topic], int64(m.payload["seq"].(float64)))
			}
			for topic, ns := range got {
				if !slices.Equal(ns, upTo(1, last)) {
					t.Errorf("socket %d, %s: %v", i, topic, ns)
				}
			}
		})
	}
	for k := range topics {
		wg.Go(func() {
			for range last {
				ws[k%2].publish(fmt.Sprint("org:1:room:", k), 1)
			}
		})
	}
	wg.Wait()
}

func TestNoFrameEverReachesASocketThatDidNotJoin(t *testing.T) {
	w := newWorlds(t, 1)[0]
	w.log.size = 2000
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	for r := range 4 {
		publishing.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					w.publish(fmt.Sprint("org:1:room:", r), 1)
				}
			}
		})
	}
	var wg sync.WaitGroup
	for r := range 4 {
		wg.Go(func() {
			own := fmt.Sprint("room:", r)
			for range 60 {
				ws, _, err := w.try(w.url(), map[string][]string{"Origin": {origin}, "Cookie": {fmt.Sprint("session=s", r)}})
				if err != nil {
					t.Error(err)
					return
				}
				c := &client{t: t, ws: ws}
				_ = ws.SetReadDeadline(time.Now().Add(10 * time.Second))
				c.push("", own, "phx_join", `{}`)
				for range 6 {
					m, err := c.read()
					if err != nil {
						t.Errorf("reading: %v", err)
						break
					}
					if m.topic != own {
						t.Errorf("socket of %s got a frame of %s", own, m.topic)
					}
				}
				_ = ws.NetConn().Close() // in the middle of the stream
			}
		})
	}
	wg.Wait()
	close(stop)
	publishing.Wait()
}
