package openai

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/heddle/heddle/agents/model"
)

// trouble is what a provider says of a failure, from whichever of the forms
// that compatible servers use.
type trouble struct{ code, kind, param, message string }

// readTrouble reads {"error":{…}}, {"error":"…"}, and an object without the
// envelope; what is no JSON says nothing.
func readTrouble(body []byte) trouble {
	var outer struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &outer) != nil {
		return trouble{}
	}
	inner := body
	if len(outer.Error) > 0 {
		inner = outer.Error
	}
	var text string
	if json.Unmarshal(inner, &text) == nil {
		return trouble{message: text}
	}
	var fields struct {
		Code    any    `json:"code"`
		Type    string `json:"type"`
		Param   string `json:"param"`
		Message string `json:"message"`
		Detail  any    `json:"detail"`
	}
	if json.Unmarshal(inner, &fields) != nil {
		return trouble{}
	}
	t := trouble{kind: fields.Type, param: fields.Param, message: fields.Message}
	switch code := fields.Code.(type) {
	case string:
		t.code = code
	case float64:
		t.code = strconv.Itoa(int(code))
	}
	if detail, ok := fields.Detail.(string); ok && t.message == "" {
		t.message = detail
	}
	return t
}

// refusesParameter reports whether the model takes no t.param at all: not that
// it takes no such value, which another request may not have. The message counts
// for servers that have no code for it.
func (t trouble) refusesParameter() bool {
	if t.param == "" {
		return false
	}
	switch t.code {
	case "unsupported_parameter", "unknown_parameter":
		return true
	case "unsupported_value":
		return t.param == "temperature" // reasoning models say this of any but 1
	case "":
		message := strings.ToLower(t.message)
		return strings.Contains(message, "not support") || strings.Contains(message, "unsupported param") || strings.Contains(message, "n't support")
	default:
		return false
	}
}

// trouble sorts a failure that the provider speaks of. In mid-stream there is
// no status, but some servers put it into the code.
func (c *call) trouble(status int, said trouble) *model.Error {
	if n, err := strconv.Atoi(said.code); err == nil && status == 0 && n >= 400 && n < 600 {
		status = n
	}
	e := c.failed(said.sort(status), said.message, nil)
	e.Status = status
	return e
}

// sort goes by the code first: it is more exact than the status.
func (t trouble) sort(status int) model.ErrorKind {
	is := func(words ...string) bool { return slices.Contains(words, t.code) || slices.Contains(words, t.kind) }
	switch {
	case is("insufficient_quota", "billing_hard_limit_reached", "billing_not_active") || status == http.StatusPaymentRequired:
		return model.QuotaExhausted
	case is("context_length_exceeded") || status == http.StatusRequestEntityTooLarge || status < 500 && tellsOfLength(t.message):
		return model.ContextLength
	case is("content_filter", "content_policy_violation"):
		return model.Filtered
	case is("model_not_found") || status == http.StatusNotFound:
		return model.UnknownModel
	case is("invalid_api_key", "authentication_error") || status == http.StatusUnauthorized || status == http.StatusForbidden:
		return model.AuthFailed
	case is("rate_limit_exceeded", "rate_limit_error") || status == http.StatusTooManyRequests:
		return model.RateLimited
	case status == http.StatusRequestTimeout || status == http.StatusConflict || status == http.StatusTooEarly || status >= 500:
		return model.Overloaded
	case status >= 400 || is("invalid_request_error"):
		return model.InvalidRequest
	default: // in mid-stream, without a word that we know
		return model.Overloaded
	}
}

// tellsOfLength knows how compatible servers say that a request does not fit;
// they have no code for it.
func tellsOfLength(message string) bool {
	message = strings.ToLower(message)
	return slices.ContainsFunc([]string{
		"maximum context length", "context length", "context window", "context size", "prompt is too long", "input is too long",
	}, func(words string) bool { return strings.Contains(message, words) })
}

// failed makes a failure of this call; message is the provider's or ours.
func (c *call) failed(kind model.ErrorKind, message string, cause error) *model.Error {
	return &model.Error{Kind: kind, Provider: Provider, Model: c.model, Message: c.m.clean(message), Cause: cause}
}

// ended wraps the error of the caller's context.
func (c *call) ended(ctx context.Context) error {
	return fmt.Errorf("streaming from model %s: %w", c.model, ctx.Err())
}

// retryAfter reads the provider's wish, in milliseconds, seconds or as a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil {
		return bounded(ms * float64(time.Millisecond))
	}
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		return bounded(seconds * float64(time.Second))
	}
	if at, err := http.ParseTime(text); err == nil {
		return bounded(float64(at.Sub(now)))
	}
	return 0
}

// bounded keeps a wish between nothing and a day; what is no number is nothing.
func bounded(ns float64) time.Duration {
	if !(ns > 0) {
		return 0
	}
	return time.Duration(min(ns, float64(24*time.Hour)))
}

// secrets looks like a key, whole or shortened with stars, or a bearer token.
var secrets = regexp.MustCompile(`(?i)\bbearer\s+\S+|\bsk-\S+`)

// maxMessage bounds what is kept of a provider's words.
const maxMessage = 300

// cleaner makes a provider's words fit for a log: without the key or anything
// that looks like one, on one line, not long.
func cleaner(key string) func(string) string {
	return func(text string) string {
		if key != "" {
			text = strings.ReplaceAll(text, key, "[key]")
		}
		text = secrets.ReplaceAllString(text, "[key]")
		text = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(text, "\ufffd"))
		if runes := []rune(text); len(runes) > maxMessage {
			text = string(runes[:maxMessage]) + "…"
		}
		return text
	}
}
