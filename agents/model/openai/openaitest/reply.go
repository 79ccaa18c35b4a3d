package openaitest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// created is the time that every answer claims to be from.
const created = 1_800_000_000

// Reply is what one request gets: an HTTP error, or an answer that is streamed
// when the request asks for that.
type Reply struct {
	// Status is the HTTP status; 0 means 200.
	Status int
	// Header is added to the response.
	Header http.Header
	// Body replaces the whole response: a refusal, or no event stream at all.
	Body []byte

	// Pieces are the events of the stream, each a delta of the answer.
	Pieces []Piece
	// Finish is the reason in the last delta; "" sends none.
	Finish string
	// Quiet sends no usage, even when it is asked for.
	Quiet bool
	// End is how the stream ends after the pieces.
	End End

	// Hold, when set, is awaited before the first piece: a slow first token.
	Hold <-chan struct{}
	// Pace is the pause before each piece.
	Pace time.Duration
}

// Piece is one event of a stream.
type Piece struct {
	// Delta is the choices[0].delta of the event.
	Delta map[string]any
	// Raw, when set, is the whole data of the event instead.
	Raw string
}

// End is how a stream ends.
type End int

// The ends.
const (
	Done  End = iota // the finish reason, the usage, [DONE]
	Cut              // the connection is closed in the middle
	Stall            // nothing more, until the client leaves
)

// Call is a tool call of an answer.
type Call struct{ ID, Name, Args string }

// Text answers with text, a word a piece.
func Text(text string) Reply {
	r := Reply{Finish: "stop"}
	for _, word := range strings.SplitAfter(text, " ") {
		r.Pieces = append(r.Pieces, Words(word))
	}
	return r
}

// Words is a piece of text.
func Words(text string) Piece { return Piece{Delta: map[string]any{"content": text}} }

// Calls asks for tools, all at once: after the starts their arguments come by
// turns, a few characters each.
func Calls(calls ...Call) Reply {
	r := Reply{Finish: "tool_calls"}
	rest := make([]string, len(calls))
	for i, c := range calls {
		start := map[string]any{"index": i, "type": "function", "function": map[string]any{"name": c.Name, "arguments": ""}}
		if c.ID != "" {
			start["id"] = c.ID
		}
		r.Pieces = append(r.Pieces, CallPiece(start))
		rest[i] = c.Args
	}
	for left := true; left; {
		left = false
		for i, args := range rest {
			runes := []rune(args)
			n := min(len(runes), 6)
			if n == 0 {
				continue
			}
			left = true
			rest[i] = string(runes[n:])
			r.Pieces = append(r.Pieces, CallPiece(map[string]any{"index": i, "function": map[string]any{"arguments": string(runes[:n])}}))
		}
	}
	return r
}

// CallPiece is one delta of a tool call, as it is.
func CallPiece(delta map[string]any) Piece {
	return Piece{Delta: map[string]any{"tool_calls": []any{delta}}}
}

// Error is the error object of the protocol.
type Error struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// Refuse answers with an error.
func Refuse(status int, e Error) Reply {
	return Reply{Status: status, Body: encode(map[string]any{"error": e})}
}

// RateLimited is a 429 that names how many seconds to wait; "" names none.
func RateLimited(retryAfter string) Reply {
	r := Refuse(http.StatusTooManyRequests, Error{Message: "Rate limit reached for requests", Type: "requests", Code: word("rate_limit_exceeded")})
	if retryAfter != "" {
		r.Header = http.Header{"Retry-After": {retryAfter}}
	}
	return r
}

// QuotaExhausted is a 429 that no waiting helps.
func QuotaExhausted() Reply {
	return Refuse(http.StatusTooManyRequests, Error{
		Message: "You exceeded your current quota, please check your plan and billing details.",
		Type:    "insufficient_quota", Code: word("insufficient_quota"),
	})
}

// ServerError is a 500.
func ServerError() Reply {
	return Refuse(http.StatusInternalServerError, Error{Message: "The server had an error while processing your request.", Type: "server_error"})
}

// Unauthorized is a 401; like OpenAI it quotes a key.
func Unauthorized() Reply {
	return Refuse(http.StatusUnauthorized, Error{
		Message: "Incorrect API key provided: sk-wrong****1234.", Type: "invalid_request_error", Code: word("invalid_api_key")})
}

// UnknownModel is a 404.
func UnknownModel(model string) Reply {
	return Refuse(http.StatusNotFound, Error{
		Message: fmt.Sprintf("The model `%s` does not exist or you do not have access to it.", model),
		Type:    "invalid_request_error", Code: word("model_not_found"),
	})
}

// TooLong is a 400 for a request that does not fit.
func TooLong() Reply {
	return Refuse(http.StatusBadRequest, Error{
		Message: "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens.",
		Type:    "invalid_request_error", Param: word("messages"), Code: word("context_length_exceeded"),
	})
}

// Filtered is a 400 for a request that the provider will not answer.
func Filtered() Reply {
	return Refuse(http.StatusBadRequest, Error{
		Message: "The response was filtered due to the prompt triggering the content management policy.",
		Type:    "invalid_request_error", Param: word("prompt"), Code: word("content_filter"),
	})
}

// Unsupported is a 400 for a parameter that the model does not take.
func Unsupported(param string) Reply {
	return Refuse(http.StatusBadRequest, Error{
		Message: fmt.Sprintf("Unsupported parameter: '%s' is not supported with this model.", param),
		Type:    "invalid_request_error", Param: word(param), Code: word("unsupported_parameter"),
	})
}

// CutAfter streams text and closes the connection.
func CutAfter(text string) Reply { return endless(text, Cut) }

// StallAfter streams text and then nothing.
func StallAfter(text string) Reply { return endless(text, Stall) }

func endless(text string, end End) Reply {
	r := Text(text)
	r.Finish, r.End = "", end
	return r
}

// Garbage streams text and then a chunk that is no JSON.
func Garbage(text string) Reply {
	r := Text(text)
	r.Pieces = append(r.Pieces, Piece{Raw: `{"choices":[{"delta":{"content":`})
	return r
}

// ErrorAfter streams text and then an error object.
func ErrorAfter(text string, e Error) Reply {
	r := endless(text, Done)
	r.Pieces = append(r.Pieces, Piece{Raw: string(encode(map[string]any{"error": e}))})
	return r
}

// Nothing is a stream without a single chunk.
func Nothing() Reply { return Reply{Quiet: true} }

func word(s string) *string { return &s }

func encode(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		panic("openaitest: a scripted reply is no JSON: " + err.Error())
	}
	return out
}
