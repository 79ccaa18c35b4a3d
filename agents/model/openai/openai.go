// Package openai asks models that speak OpenAI's Chat Completions: OpenAI
// itself, and the many servers that are compatible with it. It goes through the
// official SDK, for the types and the event stream; retries, time limits and
// the reading of failures are ours.
//
// Invariants:
//   - one Stream is one answer: nothing is asked again here except a request
//     that was refused for a parameter the model does not take, see [adapted];
//   - the connection ends with the loop or the context, and a provider that
//     falls silent is left after [Options.Idle];
//   - no key and nothing that looks like one reaches an error's text.
//
// The composition root imports it. Package openaitest is a server of the same
// protocol for tests.
package openai

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"time"

	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/internal/id"
)

// Provider is the prefix of the ids that this package serves, and how its
// failures call it.
const Provider = "openai"

// Family is the id under which it is registered.
const Family = Provider + ":*"

// DefaultURL is OpenAI's own address.
const DefaultURL = "https://api.openai.com/v1"

// DefaultIdle is how long a stream may be silent.
const DefaultIdle = time.Minute

// Options say where the models are.
type Options struct {
	// BaseURL is what "/chat/completions" is appended to; "" means [DefaultURL].
	BaseURL string
	// Key is sent as a bearer token; "" sends none, as local servers like it.
	Key string
	// HTTP sends the requests and bounds connecting and waiting for the
	// response header. It must not bound the whole call: its Timeout is 0.
	HTTP *http.Client
	// Idle is how long a stream may be silent; 0 means [DefaultIdle]. Comments
	// that keep a connection alive count as a sign of life.
	Idle time.Duration
	// NewID makes ids for tool calls of servers that give none; nil means
	// [id.New].
	NewID id.Source
}

// Model asks whatever model a request names. Safe for concurrent use.
type Model struct {
	chat    sdk.ChatCompletionService
	clean   func(string) string
	idle    time.Duration
	newID   id.Source
	dialect dialect
	learned *lessons
}

// New makes the provider. Nothing is read from the environment.
func New(o Options) (*Model, error) {
	if o.BaseURL == "" {
		o.BaseURL = DefaultURL
	}
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" || o.HTTP == nil {
		return nil, errors.New("making the OpenAI provider: a base URL with a host and an HTTP client are required")
	}
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	if o.NewID == nil {
		o.NewID = id.New
	}
	options := []option.RequestOption{option.WithBaseURL(o.BaseURL), option.WithHTTPClient(o.HTTP), option.WithMaxRetries(0)}
	if o.Key != "" {
		options = append(options, option.WithAPIKey(o.Key))
	}
	return &Model{
		chat:  sdk.NewChatCompletionService(options...), // unlike sdk.NewClient, it reads no variables
		clean: cleaner(o.Key), idle: o.Idle, newID: o.NewID,
		dialect: dialectOf(base), learned: &lessons{},
	}, nil
}

// Stream implements [model.Model].
func (m *Model) Stream(ctx context.Context, req model.Request) iter.Seq2[model.Chunk, error] {
	return func(yield func(model.Chunk, error) bool) {
		if err := req.Check(); err != nil {
			yield(model.Chunk{}, err)
			return
		}
		if err := ctx.Err(); err != nil {
			yield(model.Chunk{}, fmt.Errorf("streaming from model %s: %w", req.Model, err))
			return
		}
		for {
			err := m.ask(ctx, req, yield)
			if err == nil {
				return
			}
			if refused := (*adapted)(nil); errors.As(err, &refused) {
				continue // once for each parameter that can be left out
			}
			yield(model.Chunk{}, err)
			return
		}
	}
}

// ask makes one request and passes its answer on. Nil means that all is said,
// or that nobody listens any more.
func (m *Model) ask(outer context.Context, req model.Request, yield func(model.Chunk, error) bool) error {
	ctx, giveUp := context.WithCancel(outer)
	defer giveUp()
	c := &call{m: m, model: req.Model, without: m.learned.about(req.Model), giveUp: giveUp}
	params, err := m.params(req, c.without)
	if err != nil {
		return c.failed(model.InvalidRequest, "", err)
	}
	stream := m.chat.NewStreaming(ctx, params, option.WithMiddleware(c.exchange))
	defer func() { _ = stream.Close() }() // what it says about closing changes nothing

	r := reader{newID: m.newID, used: usedIDs(req)}
	for stream.Next() {
		chunks := r.read(stream.Current())
		for _, chunk := range chunks {
			if !yield(chunk, nil) {
				return nil
			}
		}
		if r.finish != "" {
			c.hurry()
		}
	}
	// A whole answer whose connection breaks before the trailing usage is whole.
	if err := outer.Err(); err != nil || r.finish == "" {
		return c.failure(outer, stream.Err(), r.any)
	}
	chunks, err := r.end()
	if err != nil {
		return c.failed(model.Malformed, err.Error(), nil)
	}
	for _, chunk := range chunks {
		if !yield(chunk, nil) {
			return nil
		}
	}
	return nil
}

func usedIDs(req model.Request) map[string]bool {
	used := map[string]bool{}
	for _, msg := range req.Messages {
		for _, call := range msg.ToolCalls {
			used[call.ID] = true
		}
	}
	return used
}
