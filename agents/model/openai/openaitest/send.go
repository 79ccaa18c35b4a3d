package openaitest

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(encode(v)) // a client that left needs no answer
}

// send carries the reply out.
func (r Reply) send(w http.ResponseWriter, req *http.Request, c Chat) {
	for name, values := range r.Header {
		w.Header()[name] = values
	}
	switch {
	case r.Body != nil:
		if w.Header().Get("Content-Type") == "" {
			w.Header().Set("Content-Type", "application/json")
		}
		w.WriteHeader(max(r.Status, http.StatusOK))
		_, _ = w.Write(r.Body) // a client that left needs no answer
	case c.Stream:
		r.stream(w, req, c)
	default:
		writeJSON(w, http.StatusOK, r.whole(c))
	}
}

// stream sends the events one by one.
func (r Reply) stream(w http.ResponseWriter, req *http.Request, c Chat) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	out := http.NewResponseController(w)
	w.WriteHeader(http.StatusOK)
	_ = out.Flush() // the next write tells of a client that left
	if r.Hold != nil {
		select {
		case <-r.Hold:
		case <-req.Context().Done():
			return
		}
	}
	event := func(data string) bool {
		_, err := fmt.Fprintf(w, "data: %s\n\n", data)
		return err == nil && out.Flush() == nil
	}
	if len(r.Pieces) > 0 && !event(Piece{Delta: map[string]any{"role": "assistant", "content": ""}}.data(c)) {
		return
	}
	for _, p := range r.Pieces {
		if !pause(req, r.Pace) || !event(p.data(c)) {
			return
		}
	}
	switch r.End {
	case Cut:
		panic(http.ErrAbortHandler) // how net/http is told to drop a connection
	case Stall:
		<-req.Context().Done()
		return
	}
	if r.Finish != "" {
		event(chunk(c, []any{map[string]any{"index": 0, "delta": map[string]any{}, "finish_reason": r.Finish}}, nil))
	}
	if c.StreamOptions.IncludeUsage && !r.Quiet {
		event(chunk(c, []any{}, r.usage(c)))
	}
	event("[DONE]")
}

func pause(req *http.Request, d time.Duration) bool {
	if d == 0 {
		return req.Context().Err() == nil
	}
	select {
	case <-req.Context().Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (p Piece) data(c Chat) string {
	if p.Raw != "" {
		return p.Raw
	}
	return chunk(c, []any{map[string]any{"index": 0, "delta": p.Delta, "finish_reason": nil}}, nil)
}

func chunk(c Chat, choices []any, usage any) string {
	return string(encode(map[string]any{
		"id": "chatcmpl-test", "object": "chat.completion.chunk", "created": created, "model": c.Model,
		"choices": choices, "usage": usage,
	}))
}

// usage counts words, which is near enough to tokens.
func (r Reply) usage(c Chat) map[string]any {
	in := 0
	for _, m := range c.Messages {
		in += 4 + len(strings.Fields(m.Text()))
	}
	return map[string]any{"prompt_tokens": in, "completion_tokens": len(r.Pieces), "total_tokens": in + len(r.Pieces)}
}

// whole puts the pieces together, for a request that wants no stream.
func (r Reply) whole(c Chat) map[string]any {
	message := map[string]any{"role": "assistant", "content": nil}
	var text strings.Builder
	var calls []map[string]any
	for _, p := range r.Pieces {
		if words, ok := p.Delta["content"].(string); ok {
			text.WriteString(words)
			message["content"] = text.String()
		}
		pieces, _ := p.Delta["tool_calls"].([]any)
		for _, piece := range pieces {
			delta, _ := piece.(map[string]any)
			function, _ := delta["function"].(map[string]any)
			i, _ := delta["index"].(int)
			if i == len(calls) {
				calls = append(calls, map[string]any{"id": delta["id"], "type": "function", "function": map[string]any{"name": function["name"], "arguments": ""}})
			}
			known, _ := calls[i]["function"].(map[string]any)
			known["arguments"] = fmt.Sprint(known["arguments"], function["arguments"])
		}
	}
	if calls != nil {
		message["tool_calls"] = calls
	}
	return map[string]any{
		"id": "chatcmpl-test", "object": "chat.completion", "created": created, "model": c.Model, "usage": r.usage(c),
		"choices": []any{map[string]any{"index": 0, "message": message, "finish_reason": r.Finish}},
	}
}
