package api

import (
	"context"
	"slices"
	"strings"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// failures notes with states why the runs that made them failed there: a state keeps
// what was due when its run ended, until something follows.
func (a *API) failures(ctx context.Context, scope auth.Scope, thread agents.ThreadID, states []agents.State) error {
	var at []int
	var runs []agents.RunID
	for i, s := range states {
		if mayHaveFailed(s) {
			at, runs = append(at, i), append(runs, s.Head.Run)
		}
	}
	if len(at) == 0 {
		return nil
	}
	failed, err := a.threads.Failures(ctx, scope, thread, runs)
	if err != nil {
		return err
	}
	for n, i := range at {
		if failure, ok := failed[runs[n]]; ok {
			states[i].Failure = &failure
		}
	}
	return nil
}

// mayHaveFailed reports whether a state is the last of its run, with something due
// that waits for nobody.
func mayHaveFailed(s agents.State) bool {
	h := s.Head
	switch {
	case h == nil || h.Run == "" || h.Step < 0 || len(h.Next) == 0 || len(h.Interrupts) > 0:
		return false
	case h.Line != s.Line:
		return false // a line that begins there: what was due is due anew
	default:
		return s.Followed == nil || s.Followed.Run != h.Run
	}
}

// nodeAt gives the node of a subgraph, or of the thread's own graph, in which another
// node lies, which is named from the outside; false if it lies elsewhere.
func nodeAt(path string, ns []string) (node string, ok bool) {
	if path == "" {
		return "", true
	}
	names := strings.Split(path, "/")
	if len(names) <= len(ns) {
		return "", false
	}
	for i, around := range ns {
		if name, _ := partOf(around); name != names[i] {
			return "", false
		}
	}
	return names[len(ns)], true
}

// errorsOf gives what is to be said of each task that was due at a state where its run
// failed, as text: the JSON of an error and its message, which useStream reads; nil
// where nothing is. A failure that names no node is of all that was under
// way, unless a limit kept the step from beginning.
func errorsOf(s agents.State) []any {
	out := make([]any, len(s.Head.Next))
	f := s.Failure
	if f == nil {
		return out
	}
	said := string(errorData(f.Code, f.Message))
	node, inside := nodeAt(f.Node, s.NS)
	if !inside {
		return out
	}
	for i, due := range s.Head.Next {
		if p, ok := agents.PendingOf(s.Pending, i); ok && p.Result != nil {
			continue // it is done
		}
		switch {
		case node == due.Node:
			out[i] = said
			return out
		case node == "" && slices.Contains([]string{"timeout", "step_timeout", "attempts_exhausted"}, f.Code):
			out[i] = said
		}
	}
	return out
}
