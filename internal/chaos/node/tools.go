//go:build chaos

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/internal/chaos/effect"
	"github.com/heddle/heddle/internal/fault"
)

// The patience of the tools. The keyed one asks again, with the same key, as
// long as its whole call may take; the other never does.
const (
	tryLimit   = time.Second
	keyedLimit = 20 * time.Second
	plainLimit = 1500 * time.Millisecond
	tryPause   = 50 * time.Millisecond
)

type args struct {
	Tag    string `json:"tag" jsonschema:"which run asks"`
	Canary string `json:"canary" jsonschema:"a word that belongs to one organisation"`
	Hold   bool   `json:"hold,omitempty" jsonschema:"whether a person looks at it first"`
}

// toolsAt makes the tools of the load: one reads, one honours our key, one does
// not.
func toolsAt(base string, client *http.Client) ([]tool.Tool, error) {
	s := server{base: base, client: client}
	look, err1 := tool.New(tool.Spec{Name: effect.Look, Description: "Looks.", Effect: tool.EffectRead, Review: tool.ReviewNever},
		func(ctx context.Context, inv tool.Invocation, a args) (tool.Result, error) {
			return s.ask(ctx, effect.Look, inv, a)
		})
	keyed, err2 := tool.New(tool.Spec{Name: effect.Keyed, Description: "Posts once per key.", Effect: tool.EffectOutbound, Idempotent: true,
		Review: tool.ReviewNever, Consequence: "One entry at the tool server.", Timeout: keyedLimit},
		func(ctx context.Context, inv tool.Invocation, a args) (tool.Result, error) {
			for {
				try, cancel := context.WithTimeout(ctx, tryLimit)
				r, err := s.ask(try, effect.Keyed, inv, a)
				cancel()
				if err == nil || ctx.Err() != nil {
					return r, err
				}
				select {
				case <-ctx.Done():
				case <-time.After(tryPause):
				}
			}
		})
	plain, err3 := tool.New(tool.Spec{Name: effect.Plain, Description: "Posts.", Effect: tool.EffectOutbound,
		Review: tool.ReviewNever, Consequence: "One entry at the tool server.", Timeout: plainLimit},
		func(ctx context.Context, inv tool.Invocation, a args) (tool.Result, error) {
			r, err := s.ask(ctx, effect.Plain, inv, a)
			if err != nil && !fault.Is(err, fault.KindUnavailable) && ctx.Err() == nil {
				r = tool.Refusal("Whether the entry was made is unknown.", "Outcome unknown")
				r.Unknown = true
				return r, nil
			}
			return r, err
		})
	return []tool.Tool{look, keyed, plain}, errors.Join(err1, err2, err3)
}

type server struct {
	base   string
	client *http.Client
}

// ask sends one request. An unavailable fault says that the server refused it
// and did nothing.
func (s server) ask(ctx context.Context, name string, inv tool.Invocation, a args) (tool.Result, error) {
	body, err := json.Marshal(effect.Request{Tool: name, Key: inv.IdempotencyKey, Org: string(inv.Scope.Org), Thread: inv.ThreadID, Tag: a.Tag, Canary: a.Canary})
	if err != nil {
		return tool.Result{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+"/"+name, bytes.NewReader(body))
	if err != nil {
		return tool.Result{}, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return tool.Result{}, fmt.Errorf("asking the tool server: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, _ = io.Copy(io.Discard, resp.Body)
		return tool.Result{}, fault.Unavailable("The tool server refused.", nil)
	}
	var answer effect.Answer
	// Only the first of several answers counts.
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return tool.Result{}, fmt.Errorf("reading the tool server's answer: %w", err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return tool.Text(answer.Content, "Done"), nil
}
