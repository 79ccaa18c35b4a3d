package builtin

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// Memory keeps items beyond a thread. The organisation comes from the scope;
// the namespace, an ordered path, names the person, so that nobody reads what
// another one said even if an implementation forgets to look at the scope's
// user.
type Memory interface {
	// Put writes value under key, replacing what was there, and notes where it is
	// from.
	Put(ctx context.Context, scope auth.Scope, namespace []string, key string, value json.RawMessage, from agents.Source) error
	// Search gives at most limit items, the best or, for an empty query, the
	// latest first.
	Search(ctx context.Context, scope auth.Scope, namespace []string, query string, limit int) ([]Item, error)
}

// Item is one entry of a memory.
type Item struct {
	Key       string
	Value     json.RawMessage
	UpdatedAt time.Time
}

// FactsNamespace is where remember and recall keep what a person told them.
func FactsNamespace(scope auth.Scope) []string {
	return []string{"users", string(scope.User), "facts"}
}

// fact is the stored value.
type fact struct {
	Fact string `json:"fact"`
}

// encode renders JSON for a model, which reads <, > and & better unescaped.
func encode(v any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return string(bytes.TrimSpace(b.Bytes())), nil
}
