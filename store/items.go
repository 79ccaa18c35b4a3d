package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// Bounds of items.
const (
	MaxNamespaceParts = 16
	MaxNamespaceRunes = 128 // of one part
	MaxItemKeyRunes   = 512
	MaxItemBytes      = 256 << 10 // of the value's JSON
	MaxItemQueryRunes = 400
	MaxItemPage       = 100
)

// ItemQuery selects items, the latest changed first.
type ItemQuery struct {
	// Prefix is the beginning of the namespaces to look in; empty means all.
	Prefix []string
	// Text is words that must all occur in the texts of the value, in any
	// letter case; empty means all. At most [MaxItemQueryRunes] characters.
	Text string
	// Limit is 1 to [MaxItemPage]; default 10.
	Limit  int
	Offset int
}

type itemRow struct {
	Namespace []string
	Key       string
	Value     json.RawMessage
	CreatedAt time.Time
	UpdatedAt time.Time
	ExpiresAt *time.Time
	WrittenBy string
	RunID     string
	ThreadID  string
	Tool      string
}

func (r itemRow) item() agents.Item {
	return agents.Item{Namespace: r.Namespace, Key: r.Key, Value: r.Value, CreatedAt: r.CreatedAt.UTC(),
		UpdatedAt: r.UpdatedAt.UTC(), ExpiresAt: timeOrZero(r.ExpiresAt), Source: agents.Source{By: auth.UserID(r.WrittenBy),
			Run: agents.RunID(r.RunID), Thread: agents.ThreadID(r.ThreadID), Tool: r.Tool}}
}

const itemColumns = `i.namespace, i.key, i.value, i.created_at, i.updated_at, i.expires_at,
	coalesce(i.written_by::text, '') as written_by, coalesce(i.run_id::text, '') as run_id,
	coalesce(i.thread_id::text, '') as thread_id, coalesce(i.tool, '') as tool`

// itemsOfHolder is the rule whose items a statement reaches: those of one memory
// of the scope's organisation. Whose that may be is decided before: holderArgs
// name the scope's own person, and [reach] asks for the right to another's.
const itemsOfHolder = `i.org_id = @org and i.area = @area and i.holder_id = @holder`

const itemLives = `(i.expires_at is null or i.expires_at > now())`

// sqlItemPut starts an item anew when what it replaces has expired.
const sqlItemPut = `insert into store_items as i (org_id, area, holder_id, namespace, key, value, expires_at, lifetime, paths,
	written_by, run_id, thread_id, tool)
values (@org, @area, @holder, @namespace, @key, @value, coalesce(now() + @lifetime::interval, @expires), @lifetime, @paths,
	@holder, @run, @thread, @tool)
on conflict (org_id, area, holder_id, namespace, key) do update set
	value = excluded.value, expires_at = excluded.expires_at, lifetime = excluded.lifetime, paths = excluded.paths,
	updated_at = now(), written_by = excluded.written_by,
	run_id = excluded.run_id, thread_id = excluded.thread_id, tool = excluded.tool,
	created_at = case when ` + itemLives + ` then i.created_at else now() end
returning ` + itemColumns

// PutItem writes an item into the memory of the scope's person, replacing what
// was there; they are its writer, whatever the item's source says. Faults:
// invalid names the field and rule.
func (db *DB) PutItem(ctx context.Context, scope auth.Scope, area agents.Area, item agents.Item) (agents.Item, error) {
	args, err := itemArgs(scope, area, item.Namespace, item.Key)
	if err != nil {
		return agents.Item{}, err
	}
	if err := validateItemValue(item.Value); err != nil {
		return agents.Item{}, err
	}
	args["value"], args["expires"], args["lifetime"], args["paths"] = item.Value, nil, nil, item.Paths
	args["run"], args["thread"] = orNull(string(item.Source.Run)), orNull(string(item.Source.Thread))
	args["tool"] = orNull(item.Source.Tool)
	if !item.ExpiresAt.IsZero() {
		args["expires"] = item.ExpiresAt
	}
	if item.Lifetime > 0 {
		args["lifetime"] = item.Lifetime
	}
	row, err := one[itemRow](ctx, db, scope, "Item", "writing an item", sqlItemPut, args)
	if err != nil {
		return agents.Item{}, err
	}
	return row.item(), nil
}

const sqlItemByKey = `select ` + itemColumns + ` from store_items i
	where ` + itemsOfHolder + ` and i.namespace = @namespace::text[] and i.key = @key and ` + itemLives

// Item reads one item of the memory of the scope's person.
func (db *DB) Item(ctx context.Context, scope auth.Scope, area agents.Area, namespace []string, key string) (agents.Item, error) {
	args, err := itemArgs(scope, area, namespace, key)
	if err != nil {
		return agents.Item{}, err
	}
	row, err := one[itemRow](ctx, db, scope, "Item", "reading an item", sqlItemByKey, args)
	if err != nil {
		return agents.Item{}, err
	}
	return row.item(), nil
}

const sqlItemDelete = `delete from store_items i
	where ` + itemsOfHolder + ` and i.namespace = @namespace::text[] and i.key = @key and ` + itemLives

// DeleteItem removes one item of the memory of the scope's person.
func (db *DB) DeleteItem(ctx context.Context, scope auth.Scope, area agents.Area, namespace []string, key string) error {
	args, err := itemArgs(scope, area, namespace, key)
	if err != nil {
		return err
	}
	n, err := db.exec(ctx, scope, "deleting an item", sqlItemDelete, args)
	if err == nil && n == 0 {
		return fault.NotFound("Item")
	}
	return err
}

// sqlItemSearch looks at the texts inside a value, not at its JSON: names of
// fields are not what people ask for, and quotes are not escaped.
const sqlItemSearch = `select ` + itemColumns + ` from store_items i
	where ` + itemsOfHolder + ` and ` + itemLives + `
	and i.namespace[1:cardinality(@prefix::text[])] = @prefix::text[]
	and (cardinality(@patterns::text[]) = 0 or (
		select string_agg(leaf #>> '{}', ' ') from jsonb_path_query(i.value, 'strict $.** ? (@.type() == "string")') leaf
	) ilike all (@patterns::text[]))
	order by i.updated_at desc, i.namespace, i.key limit @limit offset @offset`

// SearchItems finds items of the memory of the scope's person.
func (db *DB) SearchItems(ctx context.Context, scope auth.Scope, area agents.Area, q ItemQuery) ([]agents.Item, error) {
	if len(q.Prefix) > 0 {
		if err := validateNamespace("namespace_prefix", q.Prefix); err != nil {
			return nil, err
		}
	}
	if utf8.RuneCountInString(q.Text) > MaxItemQueryRunes {
		return nil, fault.Invalid("query", fmt.Sprintf("must be at most %d characters", MaxItemQueryRunes))
	}
	if q.Offset < 0 {
		return nil, fault.Invalid("offset", "must not be negative")
	}
	if q.Limit < 1 || q.Limit > MaxItemPage {
		q.Limit = 10
	}
	args := holderArgs(scope, area)
	args["prefix"], args["patterns"], args["limit"], args["offset"] = orEmpty(q.Prefix), patternsOf(q.Text), q.Limit, q.Offset
	rows, err := many[itemRow](ctx, db, scope, "searching items", sqlItemSearch, args)
	if err != nil {
		return nil, err
	}
	out := make([]agents.Item, len(rows))
	for i, r := range rows {
		out[i] = r.item()
	}
	return out, nil
}

// patternsOf makes a pattern for ILIKE of each word.
func patternsOf(text string) []string {
	words := strings.Fields(text)
	patterns := make([]string, len(words))
	for i, word := range words {
		patterns[i] = "%" + escapeLike(word) + "%"
	}
	return patterns
}

func holderArgs(scope auth.Scope, area agents.Area) named {
	return named{"org": string(scope.Org), "area": string(area), "holder": string(scope.User)}
}

func itemArgs(scope auth.Scope, area agents.Area, namespace []string, key string) (named, error) {
	if err := validateNamespace("namespace", namespace); err != nil {
		return nil, err
	}
	if err := validateName("key", key, MaxItemKeyRunes, ""); err != nil {
		return nil, err
	}
	args := holderArgs(scope, area)
	args["namespace"], args["key"] = namespace, key
	return args, nil
}

// validateNamespace refuses parts that patterns or paths could give another
// meaning (BW-13).
func validateNamespace(field string, parts []string) error {
	if len(parts) < 1 || len(parts) > MaxNamespaceParts {
		return fault.Invalid(field, fmt.Sprintf("must have 1 to %d parts", MaxNamespaceParts))
	}
	for _, part := range parts {
		if err := validateName(field, part, MaxNamespaceRunes, ".*?"); err != nil {
			return err
		}
	}
	return nil
}

func validateName(field, name string, limit int, without string) error {
	switch {
	case name == "":
		return fault.Invalid(field, "must not be empty")
	case !utf8.ValidString(name):
		return fault.Invalid(field, "must be valid UTF-8")
	case utf8.RuneCountInString(name) > limit:
		return fault.Invalid(field, fmt.Sprintf("must be at most %d characters", limit))
	case strings.ContainsFunc(name, unicode.IsControl):
		return fault.Invalid(field, "must not contain control characters")
	case strings.ContainsAny(name, without):
		return fault.Invalid(field, "must not contain any of "+without)
	}
	return nil
}

func validateItemValue(value json.RawMessage) error {
	switch {
	case len(value) > MaxItemBytes:
		return fault.New(fault.KindTooLarge, fmt.Sprintf("value: must be at most %d KiB of JSON", MaxItemBytes>>10))
	case !json.Valid(value) || !utf8.Valid(value):
		return fault.Invalid("value", "must be JSON in UTF-8")
	case bytes.Equal(bytes.TrimSpace(value), []byte("null")):
		return fault.Invalid("value", "must not be null")
	}
	return nil
}
