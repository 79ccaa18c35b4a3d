// Package modeltest is the suite that every provider of package model passes,
// the mock as well as those that speak HTTP. A provider's own test calls [Run]
// with a factory; a provider of a remote API serves each [Scenario] from
// recorded traffic. Only tests import it.
package modeltest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/heddle/heddle/agents/model"
)

// Scenario names one case, so that a factory can pick the recording that fits.
type Scenario string

// The scenarios. The requests are fixed; [Request] gives them.
const (
	PlainText   Scenario = "text"
	OneCall     Scenario = "one_call"
	SeveralCall Scenario = "several_calls"
	CallsForth  Scenario = "after_results"
	LongAnswer  Scenario = "long_answer"
	EmptyAnswer Scenario = "empty_answer"
)

// Options say how to get at the provider.
type Options struct {
	// New makes the model for one scenario.
	New func(t *testing.T, s Scenario) model.Model
	// Model is the id for [model.Request.Model].
	Model string
	// Failing makes a model and a request that end in an error of the given
	// kind. Every kind in it is tested; a provider of a remote API lists them
	// all.
	Failing map[model.ErrorKind]func(t *testing.T) (model.Model, model.Request)
}

// prompt cuts a stream that hangs; cancelled streams must end far sooner.
const (
	limit  = 20 * time.Second
	prompt = 2 * time.Second
)

// Run runs the whole suite. Its cases are not parallel, because each counts
// goroutines.
func Run(t *testing.T, o Options) {
	for name, check := range map[string]func(*testing.T, Options){
		"TextArrivesInPiecesAndEndsWithStop":          textArrives,
		"OneToolCallHasIDNameAndJSONArguments":        oneCall,
		"SeveralToolCallsComeInOneAnswer":             severalCalls,
		"ToolResultsLeadToAnAnswer":                   afterResults,
		"UsageCountsWhatWentInAndOut":                 usage,
		"CancelInMidStreamEndsAtOnceWithItsError":     cancelled,
		"ACancelledContextNeverStarts":                neverStarts,
		"LeavingTheLoopEndsTheCall":                   leaving,
		"AnEmptyAnswerIsAnAnswer":                     empty,
		"OneModelServesManyStreamsAtOnce":             together,
		"ARequestNoProviderCouldAcceptIsRefusedEarly": refused,
	} {
		t.Run(name, func(t *testing.T) {
			here := goleak.IgnoreCurrent()
			check(t, o)
			goleak.VerifyNone(t, here)
		})
	}
	for kind, make := range o.Failing {
		t.Run(fmt.Sprintf("FailureIsTyped/%s", kind), func(t *testing.T) {
			here := goleak.IgnoreCurrent()
			m, req := make(t)
			_, err := model.Collect(m.Stream(deadline(t), req))
			got, ok := model.KindOf(err)
			require.True(t, ok, "%v", err)
			require.Equal(t, kind, got)
			goleak.VerifyNone(t, here)
		})
	}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func ask(t *testing.T, o Options, s Scenario) (model.Answer, []model.Chunk) {
	t.Helper()
	var chunks []model.Chunk
	answer, err := model.Collect(o.New(t, s).Stream(deadline(t), Request(o.Model, s)), func(c model.Chunk) error {
		chunks = append(chunks, c)
		return nil
	})
	require.NoError(t, err)
	return answer, chunks
}

func textArrives(t *testing.T, o Options) {
	answer, chunks := ask(t, o, PlainText)
	require.NotEmpty(t, answer.Message.Text())
	require.Equal(t, model.RoleAssistant, answer.Message.Role)
	require.Empty(t, answer.Message.ToolCalls)
	require.Equal(t, model.FinishStop, answer.Finish)
	pieces := 0
	for _, c := range chunks {
		switch c.Kind {
		case model.ChunkText:
			pieces++
			require.NotEmpty(t, c.Text)
		case model.ChunkReasoning, model.ChunkToolArgs:
			require.NotEmpty(t, c.Text)
		}
	}
	require.Greater(t, pieces, 1)
	require.Equal(t, model.ChunkFinish, chunks[len(chunks)-1].Kind)
}

func oneCall(t *testing.T, o Options) {
	answer, _ := ask(t, o, OneCall)
	require.Equal(t, model.FinishTools, answer.Finish)
	require.Len(t, answer.Message.ToolCalls, 1)
	checkCall(t, answer.Message.ToolCalls[0], "calculator", "expression")
}

func severalCalls(t *testing.T, o Options) {
	answer, _ := ask(t, o, SeveralCall)
	require.Equal(t, model.FinishTools, answer.Finish)
	require.Len(t, answer.Message.ToolCalls, 2)
	for _, call := range answer.Message.ToolCalls {
		checkCall(t, call, "weather", "place")
	}
	require.NotEqual(t, answer.Message.ToolCalls[0].ID, answer.Message.ToolCalls[1].ID)
}

func checkCall(t *testing.T, call model.ToolCall, name, arg string) {
	t.Helper()
	require.NotEmpty(t, call.ID)
	require.Equal(t, name, call.Name)
	var args map[string]any
	require.NoError(t, json.Unmarshal(call.Args, &args))
	require.NotEmpty(t, args[arg])
}

func afterResults(t *testing.T, o Options) {
	answer, _ := ask(t, o, CallsForth)
	require.Equal(t, model.FinishStop, answer.Finish)
	require.Empty(t, answer.Message.ToolCalls)
	require.Contains(t, answer.Message.Text(), "391")
}

func usage(t *testing.T, o Options) {
	answer, _ := ask(t, o, PlainText)
	require.Positive(t, answer.Usage.Input)
	require.Positive(t, answer.Usage.Output)
}

func cancelled(t *testing.T, o Options) {
	ctx, cancel := context.WithCancel(deadline(t))
	defer cancel()
	var last error
	var since time.Time
	texts := 0
	for c, err := range o.New(t, LongAnswer).Stream(ctx, Request(o.Model, LongAnswer)) {
		if last = err; err != nil {
			break
		}
		if c.Kind == model.ChunkText {
			if texts++; texts == 3 {
				since = time.Now()
				cancel()
			}
		}
	}
	require.Greater(t, texts, 2)
	require.Less(t, texts, 20, "a few pieces may still be buffered, no more")
	require.ErrorIs(t, last, context.Canceled)
	require.Less(t, time.Since(since), prompt)
}

func neverStarts(t *testing.T, o Options) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	answer, err := model.Collect(o.New(t, LongAnswer).Stream(ctx, Request(o.Model, LongAnswer)))
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, answer.Message.Empty())
}

func leaving(t *testing.T, o Options) {
	for range o.New(t, LongAnswer).Stream(deadline(t), Request(o.Model, LongAnswer)) {
		break
	}
}

func empty(t *testing.T, o Options) {
	answer, _ := ask(t, o, EmptyAnswer)
	require.Empty(t, answer.Message.Text())
	require.Empty(t, answer.Message.ToolCalls)
	require.Equal(t, model.FinishStop, answer.Finish)
}

func together(t *testing.T, o Options) {
	const streams = 8
	m := o.New(t, PlainText)
	ctx := deadline(t)
	errs := make(chan error, streams)
	for range streams {
		go func() {
			answer, err := model.Collect(m.Stream(ctx, Request(o.Model, PlainText)))
			if err == nil && answer.Message.Text() == "" {
				err = errors.New("the answer is empty")
			}
			errs <- err
		}()
	}
	for range streams {
		require.NoError(t, <-errs)
	}
}

func refused(t *testing.T, o Options) {
	req := Request(o.Model, PlainText)
	hot := 2.01
	req.Params.Temperature = &hot
	_, err := model.Collect(o.New(t, PlainText).Stream(deadline(t), req))
	require.ErrorContains(t, err, "temperature")
}
