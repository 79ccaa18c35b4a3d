package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
)

// Items is the long-term store that a person's programs share.
type Items interface {
	// PutItem writes an item, replacing what was there.
	PutItem(ctx context.Context, scope auth.Scope, item agents.Item) error
	// Item reads one; refresh lets it live for its lifetime again. Not found when
	// there is none.
	Item(ctx context.Context, scope auth.Scope, namespace []string, key string, refresh bool) (agents.Item, error)
	// DeleteItem removes one, if there is one.
	DeleteItem(ctx context.Context, scope auth.Scope, namespace []string, key string) error
	FindItems(ctx context.Context, scope auth.Scope, q ItemSearch) ([]agents.ScoredItem, error)
	Namespaces(ctx context.Context, scope auth.Scope, q NamespaceQuery) ([][]string, error)
}

// ItemSearch selects items: below a prefix, by conditions on their values that
// must all hold, by words of which any may match.
type ItemSearch = struct {
	Prefix        []string
	Tests         []agents.ItemTest
	Words         string
	Limit, Offset int
	Refresh       bool
}

// NamespaceQuery selects namespaces by how they begin and end, "*" for any part,
// cut to MaxDepth parts unless that is 0.
type NamespaceQuery = struct {
	Prefix, Suffix []string
	MaxDepth       int
	Limit, Offset  int
}

// Bounds of what is asked of the store.
const (
	maxItemValue    = 256 << 10 // bytes of JSON
	minTTL          = 0.001     // minutes
	maxTTL          = 10 * 366 * 24 * 60
	maxIndexPaths   = 32
	maxNamespaceGet = 100 // namespaces, unless asked for more
)

type putItem struct {
	Namespace []string        `json:"namespace"`
	Key       string          `json:"key"`
	Value     json.RawMessage `json:"value"`
	Index     json.RawMessage `json:"index"`
	TTL       *float64        `json:"ttl"`
}

// PutItem is PUT /store/items.
func (a *API) PutItem(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	var in putItem
	if err := decode(c, &in); err != nil {
		return err
	}
	value, err := object("value", in.Value)
	switch {
	case err != nil:
		return err
	case value == nil:
		return fault.Invalid("value", "is required: an object")
	case len(value) > maxItemValue:
		return fault.Invalid("value", fmt.Sprintf("must be at most %d KiB of JSON", maxItemValue>>10))
	}
	if err := storable(c.Body()); err != nil {
		return err
	}
	item := agents.Item{Namespace: in.Namespace, Key: in.Key, Value: value}
	if item.Paths, err = indexPaths(in.Index); err != nil {
		return err
	}
	if in.TTL != nil {
		if !(*in.TTL >= minTTL && *in.TTL <= maxTTL) {
			return fault.Invalid("ttl", fmt.Sprintf("must be minutes, from %v to %v", minTTL, maxTTL))
		}
		item.Lifetime = time.Duration(math.Round(*in.TTL * float64(time.Minute)))
	}
	if err := a.items.PutItem(c.UserContext(), scope, item); err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// GetItem is GET /store/items?namespace=a.b&key=. An item that is not there is
// null, which the SDK gives on; of a 404 it makes an exception.
func (a *API) GetItem(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	refresh, err := yes(c, "refresh_ttl", true)
	if err != nil {
		return err
	}
	item, err := a.items.Item(c.UserContext(), scope, queryNamespace(c), c.Query("key"), prolongs(scope, refresh))
	if fault.Is(err, fault.KindNotFound) {
		return c.JSON(nil)
	}
	if err != nil {
		return err
	}
	return c.JSON(presentItem(item))
}

// prolongs reports whether reading lets an item live for its lifetime again, as is
// asked: that is a change, and a key that may only read makes none.
func prolongs(scope auth.Scope, asked bool) bool { return asked && scope.Can(auth.PermRun) }

// DeleteItem is DELETE /store/items: what it names stands in the body, or else in
// the query string.
func (a *API) DeleteItem(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	in := struct {
		Namespace []string `json:"namespace"`
		Key       string   `json:"key"`
	}{queryNamespace(c), c.Query("key")}
	if err := decode(c, &in); err != nil {
		return err
	}
	if err := a.items.DeleteItem(c.UserContext(), scope, in.Namespace, in.Key); err != nil && !fault.Is(err, fault.KindNotFound) {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// SearchItems is POST /store/items/search.
func (a *API) SearchItems(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	var in struct {
		Prefix  []string        `json:"namespace_prefix"`
		Filter  json.RawMessage `json:"filter"`
		Query   *string         `json:"query"`
		Refresh *bool           `json:"refresh_ttl"`
	}
	if err := decode(c, &in); err != nil {
		return err
	}
	if err := storable(c.Body()); err != nil {
		return err
	}
	q := ItemSearch{Prefix: in.Prefix, Refresh: prolongs(scope, in.Refresh == nil || *in.Refresh)}
	var err error
	if q.Limit, q.Offset, err = page(c); err != nil {
		return err
	}
	if q.Tests, err = itemTests(in.Filter); err != nil {
		return err
	}
	if in.Query != nil {
		q.Words = strings.TrimSpace(*in.Query)
	}
	found, err := a.items.FindItems(c.UserContext(), scope, q)
	if err != nil {
		return err
	}
	items := make([]fiber.Map, len(found))
	for i, f := range found {
		items[i] = presentItem(f.Item)
		items[i]["score"] = f.Score
	}
	return c.JSON(fiber.Map{"items": items})
}

// ListNamespaces is POST /store/namespaces.
func (a *API) ListNamespaces(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	var in struct {
		Prefix   []string `json:"prefix"`
		Suffix   []string `json:"suffix"`
		MaxDepth *int     `json:"max_depth"`
		Limit    *int     `json:"limit"`
	}
	if err := decode(c, &in); err != nil {
		return err
	}
	if err := storable(c.Body()); err != nil {
		return err
	}
	q := NamespaceQuery{Prefix: in.Prefix, Suffix: in.Suffix}
	var err error
	if q.Limit, q.Offset, err = page(c); err != nil {
		return err
	}
	if in.Limit == nil {
		q.Limit = maxNamespaceGet
	}
	if in.MaxDepth != nil {
		if q.MaxDepth = *in.MaxDepth; q.MaxDepth < 1 {
			return fault.Invalid("max_depth", "must be 1 or more")
		}
		q.MaxDepth = min(q.MaxDepth, maxLimit)
	}
	found, err := a.items.Namespaces(c.UserContext(), scope, q)
	if err != nil {
		return err
	}
	return c.JSON(fiber.Map{"namespaces": found})
}

func presentItem(i agents.Item) fiber.Map {
	return fiber.Map{"namespace": i.Namespace, "key": i.Key, "value": i.Value, "created_at": timestamp(i.CreatedAt), "updated_at": timestamp(i.UpdatedAt)}
}

// queryNamespace reads a namespace of the query string: its parts with dots
// between them, or one after the other.
func queryNamespace(c *fiber.Ctx) []string {
	var out []string
	for _, raw := range c.Context().QueryArgs().PeekMulti("namespace") {
		if len(raw) > 0 {
			out = append(out, strings.Split(string(raw), ".")...)
		}
	}
	return out
}

// pathPart is a step of a path into a value: a name, "*" or a place in a list.
var pathPart = regexp.MustCompile(`^(?:([^.\[\]{}*"]+)|\*)((?:\[(?:\*|-?\d{1,6})\])*)$`)

// indexPaths reads which parts of a value can be searched: nil is all of it. The
// paths are those of the Agent Server ("title", "author.name", "parts[*].text",
// "$" for all); what is given is jsonpath.
func indexPaths(raw json.RawMessage) ([]string, error) {
	text := string(raw)
	switch text {
	case "", "null", "true":
		return nil, nil
	case "false":
		return []string{}, nil
	}
	var given []string
	if json.Unmarshal(raw, &given) != nil || len(given) > maxIndexPaths {
		return nil, fault.Invalid("index", fmt.Sprintf("must be false or a list of at most %d paths", maxIndexPaths))
	}
	out := make([]string, len(given))
	for i, path := range given {
		var ok bool
		if out[i], ok = jsonPath(path); !ok {
			return nil, fault.Invalid(fmt.Sprintf("index[%d]", i), "must be a path such as title, author.name, parts[*].text, or $ for all")
		}
	}
	return out, nil
}

func jsonPath(path string) (string, bool) {
	var out strings.Builder
	out.WriteString("$")
	if path == "$" {
		return out.String(), true
	}
	if len(path) > 200 {
		return "", false
	}
	for _, part := range strings.Split(strings.TrimPrefix(path, "$."), ".") {
		m := pathPart.FindStringSubmatch(part)
		if m == nil {
			return "", false
		}
		name := "*"
		if m[1] != "" {
			quoted, err := json.Marshal(m[1])
			if err != nil {
				return "", false
			}
			name = string(quoted)
		}
		out.WriteString("." + name)
		for _, place := range strings.FieldsFunc(m[2], func(r rune) bool { return r == '[' || r == ']' }) {
			if n, err := strconv.Atoi(place); err == nil && n < 0 {
				place = fmt.Sprintf("last - %d", -n-1)
			}
			out.WriteString("[" + place + "]")
		}
	}
	return out.String(), true
}

// itemTests reads a filter: each key is a field of the value, and either what it
// equals or an object of comparisons.
func itemTests(raw json.RawMessage) ([]agents.ItemTest, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var filter map[string]json.RawMessage
	if json.Unmarshal(raw, &filter) != nil {
		return nil, fault.Invalid("filter", "must be an object")
	}
	var out []agents.ItemTest
	for _, field := range slices.Sorted(maps.Keys(filter)) {
		comparisons := map[string]json.RawMessage{}
		if json.Unmarshal(filter[field], &comparisons) != nil || !slices.ContainsFunc(slices.Collect(maps.Keys(comparisons)), isComparison) {
			comparisons = map[string]json.RawMessage{string(agents.IsEqual): filter[field]}
		}
		for _, name := range slices.Sorted(maps.Keys(comparisons)) {
			test := agents.ItemTest{Field: field, Is: agents.ItemComparison(name), Value: comparisons[name]}
			switch {
			case !test.Is.Valid():
				return nil, fault.Invalid("filter."+field, "must compare with $eq, $ne, $gt, $gte, $lt or $lte, not "+name)
			case test.Is.Orders() && !ordered(test.Value):
				return nil, fault.Invalid("filter."+field+"."+name, "must be a number or a string")
			}
			out = append(out, test)
		}
	}
	return out, nil
}

func isComparison(name string) bool { return strings.HasPrefix(name, "$") }

// ordered reports whether JSON is a number or a string.
func ordered(raw json.RawMessage) bool {
	return len(raw) > 0 && (raw[0] == '"' || raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9')
}
