package store

import (
	"context"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// MaxItemTests bounds the conditions of one search.
const MaxItemTests = 32

// ItemSearch selects items as API clients do.
type ItemSearch struct {
	// Prefix is the beginning of the namespaces to look in; empty means all.
	Prefix []string
	// Tests must all hold.
	Tests []agents.ItemTest
	// Words are looked for in the searched texts; any of them may match, and those
	// that match better come first. Empty means all items, the latest changed first.
	// At most [MaxItemQueryRunes] characters.
	Words  string
	Limit  int
	Offset int
	// Refresh lets each item that is found live for its lifetime again.
	Refresh bool
}

// itemNamed is one item of the memory that itemsOfHolder names.
const itemNamed = itemsOfHolder + ` and i.namespace = @namespace::text[] and i.key = @key and ` + itemLives

// sqlItemRefresh reads an item that has no lifetime as well as one that has.
const sqlItemRefresh = `with kept as (
	update store_items i set expires_at = now() + i.lifetime where ` + itemNamed + ` and i.lifetime is not null
	returning ` + itemColumns + `
)
select * from kept union all
select ` + itemColumns + ` from store_items i where ` + itemNamed + ` and i.lifetime is null`

// RefreshItem is [DB.Item] that lets the item live for its lifetime again.
func (db *DB) RefreshItem(ctx context.Context, scope auth.Scope, area agents.Area, namespace []string, key string) (agents.Item, error) {
	args, err := itemArgs(scope, area, namespace, key)
	if err != nil {
		return agents.Item{}, err
	}
	row, err := one[itemRow](ctx, db, scope, "Item", "reading an item", sqlItemRefresh, args)
	if err != nil {
		return agents.Item{}, err
	}
	return row.item(), nil
}

// sqlItemFind looks at the items of one memory, which the primary key leads to: an
// index of words would not be used under row-level security (0003). What it keeps
// alive it locks in the order of keys, and passes by what another reader has.
const sqlItemFind = `with asked as materialized (
	select (select string_agg(quote_literal(lexeme), ' | ')::tsquery from unnest(to_tsvector('english', @words::text))) as words
), fits as materialized (
	select i.namespace, i.key, case when @words::text <> '' then ts_rank(i.tsv, asked.words, 33) end::float8 as score, i.updated_at
	from store_items i, asked
	where ` + itemsOfHolder + ` and ` + itemLives + `
		and i.namespace[1:cardinality(@prefix::text[])] = @prefix::text[]
		and (@words::text = '' or i.tsv @@ asked.words)
		and not exists (
			select 1 from unnest(@fields::text[], @comparisons::text[], @wanted::text[]) t(field, comparison, wanted)
			where not coalesce(case t.comparison
				when '$eq' then coalesce(i.value -> t.field, 'null') = t.wanted::jsonb
				when '$ne' then coalesce(i.value -> t.field, 'null') <> t.wanted::jsonb
				else jsonb_typeof(i.value -> t.field) = jsonb_typeof(t.wanted::jsonb) and case t.comparison
					when '$gt' then i.value -> t.field > t.wanted::jsonb
					when '$gte' then i.value -> t.field >= t.wanted::jsonb
					when '$lt' then i.value -> t.field < t.wanted::jsonb
					when '$lte' then i.value -> t.field <= t.wanted::jsonb end
			end, false))
	order by score desc nulls last, i.updated_at desc, i.namespace, i.key limit @limit offset @offset
), held as materialized (
	select i.namespace, i.key from store_items i
	where @refresh::bool and ` + itemsOfHolder + ` and i.lifetime is not null
		and (i.namespace, i.key) in (select f.namespace, f.key from fits f)
	order by i.namespace, i.key for update skip locked
), kept as (
	update store_items i set expires_at = now() + i.lifetime from held h
	where ` + itemsOfHolder + ` and i.namespace = h.namespace and i.key = h.key
)
select ` + itemColumns + `, f.score from fits f join store_items i on ` + itemsOfHolder + ` and i.namespace = f.namespace and i.key = f.key
order by f.score desc nulls last, f.updated_at desc, i.namespace, i.key`

type scoredRow struct {
	itemRow
	Score *float64
}

// FindItems finds items of the memory of the scope's person.
func (db *DB) FindItems(ctx context.Context, scope auth.Scope, area agents.Area, q ItemSearch) ([]agents.ScoredItem, error) {
	args := holderArgs(scope, area)
	if len(q.Prefix) > 0 {
		if err := validateNamespace("namespace_prefix", q.Prefix); err != nil {
			return nil, err
		}
	}
	if utf8.RuneCountInString(q.Words) > MaxItemQueryRunes {
		return nil, fault.Invalid("query", fmt.Sprintf("must be at most %d characters", MaxItemQueryRunes))
	}
	if len(q.Tests) > MaxItemTests {
		return nil, fault.Invalid("filter", fmt.Sprintf("must have at most %d conditions", MaxItemTests))
	}
	fields, comparisons, wanted := make([]string, len(q.Tests)), make([]string, len(q.Tests)), make([]string, len(q.Tests))
	for i, t := range q.Tests {
		if !t.Is.Valid() {
			return nil, fault.Invalid("filter."+t.Field, "compares with "+string(t.Is)+", which is none of $eq, $ne, $gt, $gte, $lt, $lte")
		}
		fields[i], comparisons[i], wanted[i] = t.Field, string(t.Is), string(t.Value)
	}
	args["prefix"], args["words"], args["limit"], args["offset"], args["refresh"] = orEmpty(q.Prefix), q.Words, q.Limit, q.Offset, q.Refresh
	args["fields"], args["comparisons"], args["wanted"] = fields, comparisons, wanted
	rows, err := many[scoredRow](ctx, db, scope, "finding items", sqlItemFind, args)
	if err != nil {
		return nil, err
	}
	out := make([]agents.ScoredItem, len(rows))
	for i, r := range rows {
		out[i] = agents.ScoredItem{Item: r.item(), Score: r.Score}
	}
	return out, nil
}

// AnyLabel stands for any one part in a [NamespaceQuery].
const AnyLabel = "*"

// NamespaceQuery selects namespaces that hold something.
type NamespaceQuery struct {
	// Prefix and Suffix are how they begin and end; empty means all, and [AnyLabel]
	// fits any part.
	Prefix, Suffix []string
	// MaxDepth cuts what is found to so many parts; 0 is no bound.
	MaxDepth      int
	Limit, Offset int
}

// sqlNamespaces compares part by part: those that are given, from the front and
// from the back.
const sqlNamespaces = `select distinct i.namespace[1:coalesce(@depth::int, cardinality(i.namespace))] as namespace from store_items i
	where ` + itemsOfHolder + ` and ` + itemLives + `
		and cardinality(i.namespace) >= greatest(cardinality(@prefix::text[]), cardinality(@suffix::text[]))
		and not exists (select 1 from unnest(@prefix::text[]) with ordinality p(part, n)
			where p.part <> '*' and p.part <> i.namespace[p.n])
		and not exists (select 1 from unnest(@suffix::text[]) with ordinality s(part, n)
			where s.part <> '*' and s.part <> i.namespace[cardinality(i.namespace) - cardinality(@suffix::text[]) + s.n])
	order by namespace limit @limit offset @offset`

type namespaceRow struct{ Namespace []string }

// Namespaces lists the namespaces of the memory of the scope's person, in order.
func (db *DB) Namespaces(ctx context.Context, scope auth.Scope, area agents.Area, q NamespaceQuery) ([][]string, error) {
	for field, parts := range map[string][]string{"prefix": q.Prefix, "suffix": q.Suffix} {
		named := slices.Clone(parts)
		for i, part := range named {
			if part == AnyLabel {
				named[i] = "any"
			}
		}
		if len(named) > 0 {
			if err := validateNamespace(field, named); err != nil {
				return nil, err
			}
		}
	}
	args := holderArgs(scope, area)
	args["prefix"], args["suffix"], args["depth"], args["limit"], args["offset"] = orEmpty(q.Prefix), orEmpty(q.Suffix), nil, q.Limit, q.Offset
	if q.MaxDepth > 0 {
		args["depth"] = q.MaxDepth
	}
	rows, err := many[namespaceRow](ctx, db, scope, "listing namespaces", sqlNamespaces, args)
	if err != nil {
		return nil, err
	}
	out := make([][]string, len(rows))
	for i, r := range rows {
		out[i] = r.Namespace
	}
	return out, nil
}
