package store

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// Memory is what the tools that remember and recall work on: the area
// [agents.AreaUser], in items of the tools' own type I, which the store can't know.
type Memory[I any] struct {
	db   *DB
	item func(agents.Item) I
}

// NewMemory makes the memory of the tools; item turns an entry into theirs.
func NewMemory[I any](db *DB, item func(agents.Item) I) Memory[I] {
	return Memory[I]{db: db, item: item}
}

// Put writes value under key, replacing what was there, and notes where it is
// from. The namespace must begin with "users" and the id of the scope's person; not found otherwise.
func (m Memory[I]) Put(ctx context.Context, scope auth.Scope, namespace []string, key string, value json.RawMessage, from agents.Source) error {
	own, err := ownNamespace(scope, namespace)
	if err != nil {
		return err
	}
	_, err = m.db.PutItem(ctx, scope, agents.AreaUser, agents.Item{Namespace: own, Key: key, Value: value, Source: from})
	return err
}

// Search gives at most limit items whose texts hold every word of the query,
// the latest first; an empty query fits all.
func (m Memory[I]) Search(ctx context.Context, scope auth.Scope, namespace []string, query string, limit int) ([]I, error) {
	own, err := ownNamespace(scope, namespace)
	if err != nil {
		return nil, err
	}
	found, err := m.db.SearchItems(ctx, scope, agents.AreaUser, ItemQuery{Prefix: own, Text: query, Limit: limit})
	if err != nil {
		return nil, err
	}
	out := make([]I, len(found))
	for i, item := range found {
		out[i] = m.item(item)
	}
	return out, nil
}

// ownNamespace takes off the two parts that name the person. They are checked,
// not obeyed: whose memory it is says the scope.
func ownNamespace(scope auth.Scope, namespace []string) ([]string, error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	if len(namespace) < 3 || !slices.Equal(namespace[:2], []string{"users", string(scope.User)}) {
		return nil, fault.NotFound("Item")
	}
	return namespace[2:], nil
}
