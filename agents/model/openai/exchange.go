package openai

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/ssestream"

	"github.com/heddle/heddle/agents/model"
)

const (
	// maxRefusal bounds what is read of a refusal.
	maxRefusal = 64 << 10
	// maxStream bounds one answer on the wire.
	maxStream = 64 << 20
	// afterFinish is how long the usage and the end of a stream are awaited
	// once the answer is whole.
	afterFinish = 5 * time.Second
)

var (
	errSilent  = errors.New("the provider fell silent")
	errTooLong = errors.New("the answer is longer than any answer should be")
)

// call is one HTTP exchange: it looks at the response before the SDK does and
// watches over its body.
type call struct {
	m       *Model
	model   string
	without refusals
	giveUp  context.CancelFunc
	body    *watched
}

// exchange is the SDK's middleware: whatever is not an event stream becomes a
// failure of ours here, where status, headers and text are all at hand.
func (c *call) exchange(req *http.Request, next option.MiddlewareNext) (*http.Response, error) {
	res, err := next(req)
	if err != nil {
		return nil, err
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")) // what cannot be read is no event stream
	c.body = &watched{ReadCloser: res.Body, patience: c.m.idle, giveUp: c.giveUp, left: maxStream}
	if res.StatusCode == http.StatusOK && kind == "text/event-stream" {
		res.Body = c.body
		return res, nil
	}
	text, readErr := io.ReadAll(io.LimitReader(c.body, maxRefusal))
	_ = c.body.Close() // nothing more is wanted of it
	if readErr != nil && len(text) == 0 && res.StatusCode < 400 {
		return nil, readErr
	}
	return nil, c.refused(res, text)
}

// refused reads a response that is no stream.
func (c *call) refused(res *http.Response, text []byte) error {
	said := readTrouble(text)
	if res.StatusCode < 400 && said.message == "" {
		e := c.failed(model.Malformed, "the answer is no event stream: look at the base URL", nil)
		e.Status = res.StatusCode
		return e
	}
	if res.StatusCode == http.StatusBadRequest && said.refusesParameter() && optional(said.param) && !c.without.has(said.param) {
		c.m.learned.learn(c.model, said.param)
		return &adapted{param: said.param}
	}
	if res.StatusCode == http.StatusNotFound && said == (trouble{}) {
		e := c.failed(model.InvalidRequest, "there is nothing at this address: look at the base URL", nil)
		e.Status = res.StatusCode
		return e
	}
	e := c.trouble(res.StatusCode, said)
	e.RetryAfter = retryAfter(res.Header, time.Now())
	return e
}

// failure says why a stream ended before its answer did. begun tells whether
// anything of the answer had arrived.
func (c *call) failure(outer context.Context, err error, begun bool) error {
	var ours *model.Error
	var refused *adapted
	var said *ssestream.StreamError
	switch {
	case outer.Err() != nil:
		return c.ended(outer)
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &said):
		return c.trouble(0, readTrouble(said.Event.Data))
	case c.body == nil:
		return c.failed(model.Overloaded, "no answer", err)
	case c.body.expired.Load():
		kind := model.Overloaded
		if begun {
			kind = model.CutStream
		}
		return c.failed(kind, errSilent.Error(), nil)
	case errors.Is(c.body.failure, errTooLong):
		return c.failed(model.Malformed, errTooLong.Error(), nil)
	case c.body.failure != nil:
		return c.failed(model.CutStream, "", c.body.failure)
	case err != nil:
		return c.failed(model.Malformed, "a chunk cannot be read", nil)
	case !begun:
		return c.failed(model.Malformed, "the stream was empty", nil)
	default:
		return c.failed(model.CutStream, "the stream ended in mid-answer", nil)
	}
}

// hurry shortens the patience with a stream whose answer is whole.
func (c *call) hurry() { c.body.patience = min(c.m.idle, afterFinish) }

// watched is a response's body that gives up when the other side is silent for
// too long, remembers how it ended, and is not endless. The time that the
// reader takes for itself does not count.
type watched struct {
	io.ReadCloser
	patience time.Duration
	giveUp   context.CancelFunc
	expired  atomic.Bool
	left     int64
	failure  error
}

// Read reads on, for as long as patience lasts.
func (w *watched) Read(p []byte) (int, error) {
	timer := time.AfterFunc(w.patience, func() {
		w.expired.Store(true)
		w.giveUp()
	})
	n, err := w.ReadCloser.Read(p)
	timer.Stop()
	if w.left -= int64(n); w.left < 0 {
		err = errTooLong
	}
	if err != nil && !errors.Is(err, io.EOF) {
		w.failure = err
	}
	return n, err
}
