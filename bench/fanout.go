//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// shape is a way of publishing.
type shape struct {
	name string
	says string
	// inFlight messages per socket at a time, as fast as they are delivered; or
	// perSecond messages, whatever happens.
	inFlight, perSecond int
	nap                 time.Duration
}

var shapes = []shape{
	{name: "closed", says: "8 messages in flight per socket: the most that is delivered", inFlight: 8, nap: time.Millisecond},
	{name: "open", says: "50 messages a second: how late a burst to everybody is", perSecond: 50},
}

const (
	warmUp   = 400 * time.Millisecond
	measured = 2 * time.Second
	patience = 3 * time.Second // for the last messages
	payload  = 200             // bytes
)

// stage is a server under test and how to reach its audience.
type stage struct {
	name    string
	process *child
	address string
	seat    func(i int) protocol
	channel string
	// body dresses a payload for the Redis channel.
	body func(seq int64, payload []byte) []byte
	seq  int64
	// learn reads what body needs from the acknowledgement of a join.
	learn func(ack []byte) error
}

// applause is what one stage did in one slice.
type applause struct {
	perSecond, cpuPerMillion, p50, p99 float64
	kibPerSocket                       float64
}

// measureFanout prints a table per shape: one thread of the product to many
// sockets beside bare hubs that hear the same Redis, in turns.
func measureFanout(ctx context.Context, b *backing, s settings) (err error) {
	p, err := startProduct(b)
	if err != nil {
		return err
	}
	stages := []*stage{productStage(p)}
	defer func() {
		for _, st := range stages {
			err = errors.Join(err, st.process.stop())
		}
	}()
	for _, mode := range []string{modeCoalesce, modePrepared} {
		process, address, err := startHub(b, mode)
		if err != nil {
			return err
		}
		stages = append(stages, &stage{
			name: mode, process: process, address: address, channel: hubChannel,
			seat:  func(int) protocol { return protocol{path: "/"} },
			body:  func(_ int64, payload []byte) []byte { return payload },
			learn: func([]byte) error { return nil },
		})
	}
	client := redis.NewClient(&redis.Options{Addr: b.redisAt, PoolSize: 1})
	defer client.Close()
	fmt.Printf("\nFan-out: one thread to %d sockets, %d-byte payload, one Redis, in turns; a lost or repeated message fails the run\n", s.sockets, payload)
	for _, sh := range shapes {
		results := map[string][]applause{}
		for i := range s.rounds {
			for _, st := range stages {
				var watched *product
				if st.name == "heddle" {
					watched = p
				}
				stop := profile(watched, s, fmt.Sprintf("fanout-%s-%d", sh.name, i))
				a, err := perform(ctx, client, st, sh, s.sockets)
				if err := errors.Join(err, stop()); err != nil {
					return fmt.Errorf("%s, %s: %w: %s", st.name, sh.name, err, st.process.said())
				}
				results[st.name] = append(results[st.name], a)
			}
			slices.Reverse(stages)
		}
		printShape(sh, results)
		if sh.name == shapes[0].name {
			fmt.Printf("\nMemory per socket when the first thousand had joined, before traffic: heddle %.0f KiB, coalesce %.0f KiB, prepared %.0f KiB\n",
				results["heddle"][0].kibPerSocket, results[modeCoalesce][0].kibPerSocket, results[modePrepared][0].kibPerSocket)
		}
	}
	return nil
}

// productStage joins the readers' sockets to the shared thread in envelope
// format, with keys, and publishes what the log would have accepted: dense
// numbers of the thread's epoch.
func productStage(p *product) *stage {
	st := &stage{name: "heddle", process: p.child, address: p.Addr, channel: "heddle:org:" + p.Org + ":thread:" + p.Thread}
	st.seat = func(i int) protocol {
		token := base64.RawURLEncoding.EncodeToString([]byte(p.Keys[i%len(p.Keys)]))
		return protocol{
			path:   "/socket/websocket?vsn=2.0.0",
			header: "Sec-WebSocket-Protocol: phoenix, base64url.bearer.phx." + token + "\r\n",
			join:   `["1","1","thread:` + p.Thread + `","phx_join",{"format":"envelope"}]`,
			ack:    `}}]`, // of {"status":…,"response":{…}}
			beat:   `[null,"9","phoenix","heartbeat",{}]`,
		}
	}
	epoch := ""
	st.learn = func(ack []byte) error {
		_, rest, ok := bytes.Cut(ack, []byte(`"response":`))
		var at struct {
			Seq   int64  `json:"seq"`
			Epoch string `json:"epoch"`
		}
		if !ok || json.NewDecoder(bytes.NewReader(rest)).Decode(&at) != nil || at.Epoch == "" {
			return fmt.Errorf("reading the reply of a join: %.200q", ack)
		}
		epoch, st.seq = at.Epoch, at.Seq
		return nil
	}
	st.body = func(seq int64, payload []byte) []byte {
		return append(fmt.Appendf(nil, "envelope %d %s ", seq, epoch), payload...)
	}
	return st
}

// perform seats an audience before one stage, publishes in one shape, and
// counts what arrives.
func perform(ctx context.Context, client *redis.Client, st *stage, sh shape, sockets int) (applause, error) {
	idle := residentOf(st.process.pid())
	a, ack, err := seatAll(ctx, st.address, sockets, st.seat, sh.nap)
	if err != nil {
		return applause{}, err
	}
	defer a.leave()
	if err := st.learn(ack); err != nil {
		return applause{}, err
	}
	out := applause{kibPerSocket: float64(residentOf(st.process.pid())-idle) / float64(sockets)}
	pub := &publisher{client: client, stage: st, audience: a, sockets: int64(sockets)}
	runtime.GC() // the driver's own, now rather than within the slice
	if err := pub.publish(ctx, sh, warmUp); err != nil {
		return out, err
	}
	pub.counted = 0
	cpu, began, before := cpuOf(st.process.pid()), time.Now(), a.all.Load()
	a.from.Store(began.UnixNano())
	if err := pub.publish(ctx, sh, measured); err != nil {
		return out, err
	}
	expected := pub.counted * int64(sockets)
	for quiet := time.Now(); a.got.Load() < expected && time.Since(quiet) < patience; {
		time.Sleep(5 * time.Millisecond)
	}
	wall := time.Unix(0, a.last.Load()).Sub(began).Seconds()
	delivered := float64(a.all.Load() - before)
	out.cpuPerMillion = (cpuOf(st.process.pid()) - cpu) / delivered * 1e6
	out.perSecond = float64(a.got.Load()) / wall
	a.stop.Store(true)
	a.done.Wait()
	out.p50, out.p99 = a.latency.quantile(.5), a.latency.quantile(.99)
	if lost, closed := expected-a.got.Load(), a.closed.Load(); lost != 0 || closed != 0 {
		return out, fmt.Errorf("%d of %d messages were lost (repeated if negative), %d sockets closed", lost, expected, closed)
	}
	return out, nil
}

// publisher stamps messages and sends them through Redis.
type publisher struct {
	client   *redis.Client
	stage    *stage
	audience *audience
	sockets  int64
	sent     int64 // messages in all
	counted  int64 // messages since the slice began
}

func (p *publisher) publish(ctx context.Context, sh shape, for_ time.Duration) error {
	began, due := time.Now(), int64(0)
	for time.Since(began) < for_ {
		n := int64(0)
		if sh.perSecond > 0 {
			n = int64(time.Since(began).Seconds()*float64(sh.perSecond)) - due
			due += n
		} else if missing := p.sent*p.sockets - p.audience.all.Load(); missing < int64(sh.inFlight)*p.sockets {
			n = max(1, (int64(sh.inFlight)-missing/p.sockets)/2)
		}
		if n == 0 {
			time.Sleep(100 * time.Microsecond)
			continue
		}
		if err := p.send(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (p *publisher) send(ctx context.Context, n int64) error {
	_, err := p.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for range n {
			p.stage.seq++
			body := fmt.Sprintf(`{"v":1,"seq":%d,"type":"TEXT_MESSAGE_CONTENT","ts":"%c%019d%c","data":{"delta":"`,
				p.stage.seq, stampMark, time.Now().UnixNano(), stampMark)
			body += strings.Repeat("x", max(0, payload-len(body)-3)) + `"}}`
			pipe.Publish(ctx, p.stage.channel, p.stage.body(p.stage.seq, []byte(body)))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	p.sent += n
	p.counted += n
	return nil
}

func printShape(sh shape, results map[string][]applause) {
	fmt.Printf("\n| %s: %s | delivered/s median [min-max], thousands | of coalesce | p50 ms | p99 ms | CPU s per million | of coalesce |\n|---|---|---|---|---|---|---|\n", sh.name, sh.says)
	rate := func(a applause) float64 { return a.perSecond / 1000 }
	cpu := func(a applause) float64 { return a.cpuPerMillion }
	base := results[modeCoalesce]
	for _, name := range []string{"heddle", modeCoalesce, modePrepared} {
		rs := results[name]
		fmt.Printf("| %s | %s | %.2f | %.1f | %.1f | %s | %.2f |\n", name, spreadOf(each(rs, rate)).show("%.0f"),
			spreadOf(ratios(each(rs, rate), each(base, rate))).mid,
			spreadOf(each(rs, func(a applause) float64 { return a.p50 })).mid,
			spreadOf(each(rs, func(a applause) float64 { return a.p99 })).mid,
			spreadOf(each(rs, cpu)).show("%.2f"), spreadOf(ratios(each(rs, cpu), each(base, cpu))).mid)
	}
}
