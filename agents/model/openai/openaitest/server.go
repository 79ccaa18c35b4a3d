// Package openaitest is a server that speaks OpenAI's Chat Completions over
// HTTP, for tests of what stands before a model and for people who try that
// out: event streams, tool calls in pieces, usage, and faults by script.
//
// Without a script it answers by itself, see [Answer]. It is an [http.Handler];
// its base URL for clients ends in /v1. Command openaitest serves it.
//
// Tests and that command import it; it imports the standard library only.
package openaitest

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// The bounds of what is read and remembered.
const (
	maxBody     = 16 << 20
	maxRecorded = 1000
)

// Request is one request as it came.
type Request struct {
	Header http.Header
	// Body is the JSON, verbatim.
	Body []byte
	Chat Chat
}

// Chat is the part of a request's body that the server understands.
type Chat struct {
	Model         string    `json:"model"`
	Messages      []Message `json:"messages"`
	Tools         []Tool    `json:"tools"`
	Stream        bool      `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

// Message is one turn. Its content may be a text or a list of parts.
type Message struct {
	Role       string          `json:"role"`
	Content    json.RawMessage `json:"content"`
	ToolCallID string          `json:"tool_call_id"`
}

// Text gives the words of the content.
func (m Message) Text() string {
	var text string
	if json.Unmarshal(m.Content, &text) == nil {
		return text
	}
	var parts []struct {
		Text string `json:"text"`
	}
	_ = json.Unmarshal(m.Content, &parts) // null and what is no list have no words
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

// Tool is one that the model may ask for.
type Tool struct {
	Function struct {
		Name string `json:"name"`
	} `json:"function"`
}

// Has reports whether the request offers a tool of this name.
func (c Chat) Has(tool string) bool {
	return slices.ContainsFunc(c.Tools, func(t Tool) bool { return t.Function.Name == tool })
}

// Options are what a server insists on. The zero value takes everything.
type Options struct {
	// Key is the only bearer token that is let in; "" lets in everybody.
	Key string
	// Answer is what the server says without a script; nil stands for [Answer].
	Answer func(Chat) Reply
}

// Server answers. Safe for concurrent use.
type Server struct {
	o    Options
	mux  *http.ServeMux
	mu   sync.Mutex
	next []Reply
	seen []Request
}

// New makes a server without a script.
func New(o Options) *Server {
	s := &Server{o: o, mux: http.NewServeMux()}
	s.mux.HandleFunc("POST /v1/chat/completions", s.complete)
	s.mux.HandleFunc("GET /v1/models", s.models)
	return s
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Script sets what the next requests get, one reply each; afterwards the server
// answers by itself again. What was left of an earlier script is dropped.
func (s *Server) Script(replies ...Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = slices.Clone(replies)
}

// Requests gives the latest requests, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// Last gives the latest request; the zero value if there was none.
func (s *Server) Last() Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) == 0 {
		return Request{}
	}
	return s.seen[len(s.seen)-1]
}

func (s *Server) complete(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return // the client left, or sent more than any client should
	}
	seen := Request{Header: r.Header.Clone(), Body: body}
	readable := json.Unmarshal(body, &seen.Chat)
	s.record(seen)
	var reply Reply
	switch {
	case s.o.Key != "" && r.Header.Get("Authorization") != "Bearer "+s.o.Key:
		reply = Unauthorized()
	case readable != nil || seen.Chat.Model == "" || len(seen.Chat.Messages) == 0:
		reply = Refuse(http.StatusBadRequest, Error{Type: "invalid_request_error", Message: "model and messages are required, as JSON"})
	default:
		reply = s.choose(seen.Chat)
	}
	reply.send(w, r, seen.Chat)
}

func (s *Server) record(seen Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen = append(s.seen, seen); len(s.seen) > maxRecorded {
		s.seen = slices.Delete(s.seen, 0, 1)
	}
}

// choose takes the next reply of the script, or makes one.
func (s *Server) choose(c Chat) Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.next) == 0 {
		if s.o.Answer != nil {
			return s.o.Answer(c)
		}
		return Answer(c)
	}
	reply := s.next[0]
	s.next = s.next[1:]
	return reply
}

func (s *Server) models(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"object": "list", "data": []any{map[string]any{"id": "any", "object": "model", "created": created, "owned_by": "openaitest"}},
	})
}
