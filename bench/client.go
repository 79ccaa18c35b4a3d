//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"
)

// callLimit bounds one call and one join.
const callLimit = 30 * time.Second

// beatEvery is how often a socket shows that it is alive; the Phoenix client's
// own default is 30 s.
const beatEvery = 10 * time.Second

// patron is one client of the API: it owns threads, watches them on one socket
// and runs graphs on them, one after the other.
type patron struct {
	http    *fasthttp.HostClient
	key     string
	threads []string
	next    int

	socket *websocket.Conn
	done   chan struct{}
	joined chan string
	watch  atomic.Pointer[watch]
	failed atomic.Pointer[error]
	hear   func(topic string, payload []byte) error // of each envelope; optional
	seqs   map[string]int64                         // last number seen per thread; the reader's own
	beat   time.Time                                // when the last heartbeat was sent
}

// watch is the one run that a patron waits for.
type watch struct {
	topic string
	// mark is what the first envelope of interest holds; a token's if empty.
	mark  string
	began time.Time
	first atomic.Int64 // nanoseconds from began to the first token
	end   chan struct{}
	once  sync.Once
	// shown, if there, is closed with the first of them.
	shown chan struct{}
}

// newPatron makes a patron with threads of its own, all joined in envelope
// format before the first run.
func newPatron(ctx context.Context, p *product, http *fasthttp.HostClient, key string, threads int) (*patron, error) {
	c, err := newWatcher(ctx, p, http, key, threads, nil)
	if err != nil {
		return nil, err
	}
	for range threads {
		if err := c.addThread(ctx); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

// newWatcher opens the socket of a patron that has no threads yet, at most as
// many later; hear, if given, is called with each envelope by the socket's reader.
func newWatcher(ctx context.Context, p *product, http *fasthttp.HostClient, key string, threads int, hear func(string, []byte) error) (*patron, error) {
	c := &patron{http: http, key: key, done: make(chan struct{}), joined: make(chan string, threads), hear: hear, seqs: map[string]int64{}}
	dialer := websocket.Dialer{
		HandshakeTimeout: callLimit,
		Subprotocols:     []string{"phoenix", "base64url.bearer.phx." + base64.RawURLEncoding.EncodeToString([]byte(key))},
	}
	socket, _, err := dialer.DialContext(ctx, "ws://"+p.Addr+"/socket/websocket?vsn=2.0.0", nil)
	if err != nil {
		return nil, fmt.Errorf("opening a socket: %w", err)
	}
	c.socket = socket
	go c.read()
	return c, nil
}

func (c *patron) addThread(ctx context.Context) error {
	answer, err := c.call("/api/threads", []byte(`{}`))
	if err != nil {
		return err
	}
	var made struct {
		ID string `json:"thread_id"`
	}
	if err := json.Unmarshal(answer, &made); err != nil || made.ID == "" {
		return fmt.Errorf("creating a thread: answered %.100q", answer)
	}
	return c.join(ctx, made.ID)
}

// join watches a thread that exists.
func (c *patron) join(ctx context.Context, thread string) error {
	join := fmt.Appendf(nil, `["1","1","thread:%s","phx_join",{"format":"envelope"}]`, thread)
	if err := c.socket.WriteMessage(websocket.TextMessage, join); err != nil {
		return fmt.Errorf("joining a thread: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	select {
	case <-c.joined:
		c.threads = append(c.threads, thread)
		return nil
	case <-c.done:
		return fmt.Errorf("joining a thread: %w", c.err())
	case <-ctx.Done():
		return fmt.Errorf("joining a thread: %w", ctx.Err())
	}
}

func (c *patron) err() error {
	if err := c.failed.Load(); err != nil {
		return *err
	}
	return errors.New("the socket was closed")
}

// read takes what the socket brings: it checks that the numbers of each thread
// are dense and tells the run in progress of its first token and its end.
func (c *patron) read() {
	defer close(c.done)
	for {
		_, frame, err := c.socket.ReadMessage()
		if err == nil {
			err = c.take(frame)
		}
		if err != nil {
			c.failed.Store(&err)
			return
		}
	}
}

func (c *patron) take(frame []byte) error {
	head, payload, ok := bytes.Cut(frame, []byte(`","envelope",`))
	if !ok {
		if bytes.Contains(frame, []byte(`"phx_reply",{"status":"ok"`)) {
			c.joined <- ""
			return nil
		}
		if bytes.Contains(frame, []byte(`"notice"`)) {
			return nil
		}
		return fmt.Errorf("unexpected frame %.200q", frame)
	}
	at := bytes.LastIndexByte(head, '"')
	topic := string(head[at+1:])
	_, number, _ := bytes.Cut(payload[:min(len(payload), 80)], []byte(`"seq":`))
	digits := 0
	for digits < len(number) && number[digits] >= '0' && number[digits] <= '9' {
		digits++
	}
	seq, err := strconv.ParseInt(string(number[:digits]), 10, 64)
	if err != nil {
		return fmt.Errorf("an envelope without number: %.200q", payload)
	}
	if last, seen := c.seqs[topic]; seen && seq != last+1 {
		return fmt.Errorf("number %d of %s came after %d", seq, topic, last)
	}
	c.seqs[topic] = seq
	if c.hear != nil {
		return c.hear(topic, payload)
	}
	w := c.watch.Load()
	if w == nil || w.topic != topic {
		return nil
	}
	mark := w.mark
	if mark == "" {
		mark = `"type":"TEXT_MESSAGE_CONTENT"`
	}
	switch kind := payload[:min(len(payload), 300)]; {
	case bytes.Contains(kind, []byte(mark)):
		if w.first.CompareAndSwap(0, int64(time.Since(w.began))) && w.shown != nil {
			close(w.shown)
		}
	case bytes.Contains(kind, []byte(`"type":"RUN_FINISHED"`)):
		w.once.Do(func() { close(w.end) })
	}
	return nil
}

// heartbeat keeps the socket open: one that is silent for a minute is closed.
func (c *patron) heartbeat() error {
	if time.Since(c.beat) < beatEvery {
		return nil
	}
	c.beat = time.Now()
	if err := c.socket.WriteMessage(websocket.TextMessage, []byte(`[null,null,"phoenix","heartbeat",{}]`)); err != nil {
		return fmt.Errorf("sending a heartbeat: %w", err)
	}
	return nil
}

// outcome is what one run took.
type outcome struct{ first, total time.Duration }

// run submits to the next thread and waits for the answer, which must hold
// want, and for the end of the run on the socket.
func (c *patron) run(graph, want string) (outcome, error) {
	thread := c.threads[c.next%len(c.threads)]
	c.next++
	if err := c.heartbeat(); err != nil {
		return outcome{}, err
	}
	w := &watch{topic: "thread:" + thread, began: time.Now(), end: make(chan struct{})}
	c.watch.Store(w)
	body := fmt.Appendf(nil, `{"assistant_id":%q,"input":{"messages":[{"type":"human","content":"hello"}]}}`, graph)
	answer, err := c.call("/api/threads/"+thread+"/runs/wait", body)
	if err != nil {
		return outcome{}, err
	}
	out := outcome{total: time.Since(w.began)}
	if !bytes.Contains(answer, []byte(want)) || bytes.Contains(answer, []byte("__error__")) {
		return outcome{}, fmt.Errorf("%s answered %.200q", graph, answer)
	}
	timeout := time.NewTimer(callLimit)
	defer timeout.Stop()
	select {
	case <-w.end:
	case <-c.done:
		return outcome{}, c.err()
	case <-timeout.C:
		return outcome{}, errors.New("the socket was not told of the run's end")
	}
	if out.first = time.Duration(w.first.Load()); out.first == 0 {
		return outcome{}, errors.New("the socket saw a run without a token")
	}
	return out, nil
}

func (c *patron) call(path string, body []byte) ([]byte, error) {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.Header.SetMethod(fasthttp.MethodPost)
	request.SetRequestURI("http://" + c.http.Addr + path)
	request.Header.SetContentType("application/json")
	request.Header.Set("X-Api-Key", c.key)
	request.SetBodyRaw(body)
	if err := c.http.DoTimeout(request, response, callLimit); err != nil {
		return nil, fmt.Errorf("calling %s: %w", path, err)
	}
	if response.StatusCode() != fasthttp.StatusOK {
		return nil, fmt.Errorf("calling %s: status %d, %.200q", path, response.StatusCode(), response.Body())
	}
	return bytes.Clone(response.Body()), nil
}

// close leaves; it reports what was wrong with the numbers, if anything was.
func (c *patron) close() error {
	failed := c.failed.Load()
	err := c.socket.Close()
	<-c.done
	if failed != nil {
		return *failed
	}
	return err
}
