//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/store"
)

// The row `inside`: the same runs as the row beside it, submitted and awaited in
// the product's own process by the service that API, pages and sockets call. What
// it leaves out is HTTP, the key's check, the reading of the answer and the
// socket that watches; what it keeps is all that accepts, executes and stores a
// run, publishing included. Its text is checked after the slice, outside of the
// time.

// insider runs graphs from within the product's process.
type insider struct {
	db     *store.DB
	runs   *run.Service
	scopes []auth.Scope
}

// asked is one slice of runs; done is what became of it.
type (
	asked struct {
		Graph, Want    string
		Clients, Total int
		// Threads are each client's own.
		Threads [][]string
	}
	done struct {
		PerSecond float64
		Totals    []time.Duration
		Threads   [][]string
		Error     string
	}
)

// ServeHTTP runs one slice.
func (in *insider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var a asked
	var d done
	err := json.NewDecoder(r.Body).Decode(&a)
	if err == nil {
		d, err = in.slice(r.Context(), a)
	}
	if err != nil {
		d.Error = err.Error()
	}
	_ = json.NewEncoder(w).Encode(d) // the driver notices a lost answer
}

func (in *insider) slice(ctx context.Context, a asked) (done, error) {
	if a.Threads == nil {
		for client := range a.Clients {
			var own []string
			for range max(1, threadsPerLevel/a.Clients) {
				thread, err := in.db.CreateThread(ctx, in.scope(client), agents.NewThread{})
				if err != nil {
					return done{}, err
				}
				own = append(own, string(thread.ID))
			}
			a.Threads = append(a.Threads, own)
		}
	}
	next := make([]int, a.Clients)
	r, err := inParallel(a.Clients, a.Total, func(client int) (outcome, error) {
		thread := agents.ThreadID(a.Threads[client][next[client]%len(a.Threads[client])])
		next[client]++
		began := time.Now()
		err := in.run(ctx, in.scope(client), thread, a.Graph)
		return outcome{total: time.Since(began)}, err
	})
	if err != nil {
		return done{}, err
	}
	for client, own := range a.Threads {
		for _, thread := range own[:min(next[client], len(own))] {
			if err := in.said(ctx, in.scope(client), agents.ThreadID(thread), a.Want); err != nil {
				return done{}, err
			}
		}
	}
	return done{PerSecond: r.perSecond, Totals: r.totals, Threads: a.Threads}, nil
}

func (in *insider) scope(client int) auth.Scope { return in.scopes[client%len(in.scopes)] }

func (in *insider) run(ctx context.Context, scope auth.Scope, thread agents.ThreadID, graph string) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	made, err := in.runs.Submit(ctx, scope, run.Request{Thread: thread, Assistant: graph, Input: in.runs.Text(scope, "hello")})
	if err != nil {
		return err
	}
	ended, err := in.runs.Wait(ctx, scope, thread, made.ID)
	if err == nil && ended.Status != agents.RunSuccess {
		err = fmt.Errorf("a run ended as %s", ended.Status)
	}
	return err
}

func (in *insider) said(ctx context.Context, scope auth.Scope, thread agents.ThreadID, want string) error {
	state, err := in.db.State(ctx, scope, thread)
	if err != nil {
		return err
	}
	if n := len(state.Messages); n == 0 || !strings.Contains(state.Messages[n-1].Text, want) {
		return fmt.Errorf("a thread of %d messages does not end with %q", n, want)
	}
	return nil
}

// inside is the driver's view of an insider.
type inside struct {
	p       *product
	threads map[int][][]string // by number of clients
}

func (in *inside) slice(ctx context.Context, a asked) (round, error) {
	a.Threads = in.threads[a.Clients]
	body, err := json.Marshal(a)
	if err != nil {
		return round{}, fmt.Errorf("asking for runs: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+in.p.Debug+"/runs", bytes.NewReader(body))
	if err != nil {
		return round{}, fmt.Errorf("asking for runs: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return round{}, fmt.Errorf("asking for runs: %w", err)
	}
	defer response.Body.Close()
	var d done
	if err := json.NewDecoder(response.Body).Decode(&d); err != nil {
		return round{}, fmt.Errorf("asking for runs: %w", err)
	}
	if d.Error != "" {
		return round{}, fmt.Errorf("running within the product: %s", d.Error)
	}
	in.threads[a.Clients] = d.Threads
	return round{perSecond: d.PerSecond, totals: d.Totals}, nil
}
