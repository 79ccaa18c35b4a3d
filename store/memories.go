package store

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// What people read of memories, as pages show it: their own, or anyone's of
// their organisation for whoever may manage assistants. To all others somebody
// else's memory looks like none. Whoever reads another person's is written down
// in the same transaction, so no way to read goes unseen.

const (
	defaultMemoryPage = 50
	maxMemoryPage     = 100
	maxNamespaces     = 200
)

// reach checks that the scope may look into a memory.
func reach(scope auth.Scope, m agents.Memory) error {
	if err := checkScope(scope); err != nil {
		return err
	}
	if !m.Area.Valid() || !id.Valid(string(m.Holder)) || !m.Of(scope.User) && !scope.Can(auth.PermManageAssistant) {
		return memoryNotFound()
	}
	return nil
}

func memoryNotFound() error { return fault.NotFound("Memory") }

func memoryArgs(scope auth.Scope, m agents.Memory, more named) named {
	args := readerArgs(scope, more)
	args["area"], args["holder"] = string(m.Area), string(m.Holder)
	return args
}

const sqlHoldings = `with held as (
	select i.holder_id, count(*) as items, max(i.updated_at) as latest from store_items i
	where i.org_id = @org and i.area = @area and ` + itemLives + ` group by i.holder_id
), people as (
	select m.user_id, ` + personName + ` as name, u.email from memberships m join users u on u.id = m.user_id
	where m.org_id = @org
), holdings as (
	select coalesce(h.holder_id, p.user_id) as holder, coalesce(p.name, '') as name, coalesce(p.email, '') as email,
		p.user_id is not null as member, coalesce(h.items, 0) as items, h.latest
	from held h full join people p on p.user_id = h.holder_id
)
select holder, name, email, member, items, latest from holdings
where (@empty or items > 0) and (@after_holder::uuid is null or (lower(name), holder) > (lower(@after_name), @after_holder::uuid))
order by lower(name), holder limit @limit`

type holdingRow struct {
	Holder string
	Name   string
	Email  string
	Member bool
	Items  int
	Latest *time.Time
}

func (r holdingRow) holding(area agents.Area) agents.Holding {
	return agents.Holding{Memory: agents.Memory{Area: area, Holder: agents.HolderID(r.Holder)}, Name: r.Name, Email: r.Email,
		Member: r.Member, Items: r.Items, UpdatedAt: timeOrZero(r.Latest)}
}

// Holdings sums up the memories of an area by the names of their holders, those
// of former members first: for people all members, else only those that hold
// something. At most limit (1 to 100, default 50).
func (db *DB) Holdings(ctx context.Context, scope auth.Scope, area agents.Area, after agents.HoldingCursor, limit int) ([]agents.Holding, error) {
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return nil, err
	}
	if !area.Valid() {
		return nil, memoryNotFound()
	}
	args := named{"org": string(scope.Org), "area": string(area), "empty": area == agents.AreaUser,
		"after_name": after.Name, "after_holder": nil, "limit": memoryLimit(limit)}
	if id.Valid(string(after.Holder)) {
		args["after_holder"] = string(after.Holder)
	}
	rows, err := many[holdingRow](ctx, db, scope, "listing memories", sqlHoldings, args)
	if err != nil {
		return nil, err
	}
	out := make([]agents.Holding, len(rows))
	for i, r := range rows {
		out[i] = r.holding(area)
	}
	return out, nil
}

func memoryLimit(limit int) int {
	if limit < 1 || limit > maxMemoryPage {
		return defaultMemoryPage
	}
	return limit
}

type foundRow struct {
	itemRow
	Area           string
	Holder         string
	HolderName     string
	WriterName     string
	ThreadReadable bool
	ThreadTitle    string
}

func (r foundRow) found() agents.FoundItem {
	return agents.FoundItem{Item: r.item(), Memory: agents.Memory{Area: agents.Area(r.Area), Holder: agents.HolderID(r.Holder)},
		HolderName: r.HolderName, WriterName: r.WriterName, ThreadReadable: r.ThreadReadable, ThreadTitle: r.ThreadTitle}
}

// foundColumns and foundItems read items with the people and the thread that
// belong to them; they need the named arguments of readerArgs.
const foundColumns = itemColumns + `, i.area, i.holder_id as holder,
	coalesce((select ` + personName + ` from users u where u.id = i.holder_id), '') as holder_name,
	coalesce((select ` + personName + ` from users u where u.id = i.written_by), '') as writer_name,
	t.id is not null as thread_readable, coalesce(t.title, '') as thread_title`

const foundItems = `store_items i left join threads t on t.id = i.thread_id and ` + threadReadable

// itemSays holds when the key and the texts and numbers of the value have all
// words of a search.
const itemSays = `(cardinality(@patterns::text[]) = 0 or (i.key || ' ' || coalesce((
		select string_agg(leaf #>> '{}', ' ')
		from jsonb_path_query(i.value, 'strict $.** ? (@.type() == "string" || @.type() == "number")') leaf
	), '')) ilike all (@patterns::text[]))`

const sqlMemoryItems = `select ` + foundColumns + ` from ` + foundItems + `
where ` + itemsOfHolder + ` and ` + itemLives + ` and ` + itemSays + `
	and i.namespace[1:cardinality(@prefix::text[])] = @prefix::text[]
	and (@after_at::timestamptz is null or i.namespace > @after_ns::text[] or i.namespace = @after_ns::text[]
		and (i.updated_at < @after_at or i.updated_at = @after_at and i.key > @after_key))
order by i.namespace, i.updated_at desc, i.key limit @limit`

const sqlMemoryNamespaces = `select i.namespace, count(*) as items from store_items i
where ` + itemsOfHolder + ` and ` + itemLives + ` group by i.namespace order by i.namespace limit @limit`

const sqlMemoryCounts = `select i.area, count(*) as items, max(i.updated_at) as latest from store_items i
where i.org_id = @org and i.holder_id = @holder and i.area = any (@areas) and ` + itemLives + ` group by i.area`

const sqlMemoryHolder = `select ` + personName + ` as name, u.email from memberships m join users u on u.id = m.user_id
where m.org_id = @org and m.user_id = @holder`

type areaCountRow struct {
	Area   string
	Items  int
	Latest time.Time
}

type holderRow struct{ Name, Email string }

// Memory reads a part of one memory. Not found when the scope may not look into
// it, and when its holder is no member and left nothing.
func (db *DB) Memory(ctx context.Context, scope auth.Scope, m agents.Memory, q agents.MemoryQuery) (agents.MemoryPage, error) {
	if err := reach(scope, m); err != nil {
		return agents.MemoryPage{}, err
	}
	more, err := memoryQueryArgs(q)
	if err != nil {
		return agents.MemoryPage{}, err
	}
	args := memoryArgs(scope, m, more)
	var (
		items      []foundRow
		namespaces []agents.NamespaceCount
		counts     []areaCountRow
		holders    []holderRow
		page       agents.MemoryPage
	)
	err = db.scoped(ctx, scope, func(tx pgx.Tx) error {
		var read pgx.Batch
		collect(&read, &items, sqlMemoryItems, args)
		collect(&read, &namespaces, sqlMemoryNamespaces, memoryArgs(scope, m, named{"limit": maxNamespaces}))
		collect(&read, &counts, sqlMemoryCounts, memoryArgs(scope, m, named{"areas": agents.Areas()}))
		collect(&read, &holders, sqlMemoryHolder, args)
		if err := tx.SendBatch(ctx, &read).Close(); err != nil {
			return translate(err)
		}
		page = memoryPage(m, items, namespaces, counts, holders)
		if !page.Holding.Member && len(page.Counts) == 0 {
			return memoryNotFound()
		}
		return noteRead(tx, scope, m, page.Holding.Name, nil)
	})
	if err != nil {
		return agents.MemoryPage{}, fmt.Errorf("reading a memory: %w", err)
	}
	return page, nil
}

func memoryPage(m agents.Memory, items []foundRow, namespaces []agents.NamespaceCount, counts []areaCountRow, holders []holderRow) agents.MemoryPage {
	page := agents.MemoryPage{Holding: agents.Holding{Memory: m}, Counts: map[agents.Area]int{}, Namespaces: namespaces}
	for _, h := range holders {
		page.Holding.Member, page.Holding.Name, page.Holding.Email = true, h.Name, h.Email
	}
	for _, c := range counts {
		page.Counts[agents.Area(c.Area)] = c.Items
		if agents.Area(c.Area) == m.Area {
			page.Holding.Items, page.Holding.UpdatedAt = c.Items, c.Latest.UTC()
		}
	}
	for _, r := range items {
		page.Items = append(page.Items, r.found())
	}
	return page
}

func memoryQueryArgs(q agents.MemoryQuery) (named, error) {
	if len(q.Prefix) > 0 {
		if err := validateNamespace("ns", q.Prefix); err != nil {
			return nil, err
		}
	}
	if utf8.RuneCountInString(q.Text) > MaxItemQueryRunes {
		return nil, fault.Invalid("q", fmt.Sprintf("must be at most %d characters", MaxItemQueryRunes))
	}
	args := named{"prefix": orEmpty(q.Prefix), "patterns": patternsOf(q.Text), "limit": memoryLimit(q.Limit),
		"after_at": nil, "after_ns": orEmpty(q.After.Namespace), "after_key": q.After.Key, "after_holder": nil}
	if !q.After.UpdatedAt.IsZero() {
		args["after_at"] = q.After.UpdatedAt
	}
	if id.Valid(string(q.After.Holder)) {
		args["after_holder"] = string(q.After.Holder)
	}
	return args, nil
}

const sqlMemorySearch = `select ` + foundColumns + ` from ` + foundItems + `
where i.org_id = @org and i.area = @area and ` + itemLives + ` and ` + itemSays + `
	and (@after_at::timestamptz is null or @after_holder::uuid is null or i.updated_at < @after_at or i.updated_at = @after_at
		and (i.holder_id, i.namespace, i.key) > (@after_holder::uuid, @after_ns::text[], @after_key))
order by i.updated_at desc, i.holder_id, i.namespace, i.key limit @limit`

// SearchMemories finds items in all memories of an area, the latest changed
// first; the query's prefix counts for nothing.
func (db *DB) SearchMemories(ctx context.Context, scope auth.Scope, area agents.Area, q agents.MemoryQuery) ([]agents.FoundItem, error) {
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return nil, err
	}
	if !area.Valid() {
		return nil, memoryNotFound()
	}
	q.Prefix = nil
	more, err := memoryQueryArgs(q)
	if err != nil {
		return nil, err
	}
	var rows []foundRow
	err = db.scoped(ctx, scope, func(tx pgx.Tx) error {
		var read pgx.Batch
		collect(&read, &rows, sqlMemorySearch, memoryArgs(scope, agents.Memory{Area: area}, more))
		if err := tx.SendBatch(ctx, &read).Close(); err != nil {
			return translate(err)
		}
		return noteSearch(tx, scope, area, rows)
	})
	if err != nil {
		return nil, fmt.Errorf("searching memories: %w", err)
	}
	out := make([]agents.FoundItem, len(rows))
	for i, r := range rows {
		out[i] = r.found()
	}
	return out, nil
}

const sqlMemoryItem = `select ` + foundColumns + ` from ` + foundItems + `
where ` + itemsOfHolder + ` and i.namespace = @namespace::text[] and i.key = @key and ` + itemLives

// MemoryItem reads one item of a memory. Not found covers a name that no item
// can have.
func (db *DB) MemoryItem(ctx context.Context, scope auth.Scope, ref agents.ItemRef) (agents.FoundItem, error) {
	args, err := refArgs(scope, ref)
	if err != nil {
		return agents.FoundItem{}, err
	}
	var rows []foundRow
	err = db.scoped(ctx, scope, func(tx pgx.Tx) error {
		var read pgx.Batch
		collect(&read, &rows, sqlMemoryItem, args)
		if err := tx.SendBatch(ctx, &read).Close(); err != nil {
			return translate(err)
		}
		if len(rows) == 0 {
			return memoryNotFound()
		}
		return noteRead(tx, scope, ref.Memory, rows[0].HolderName, &ref)
	})
	if err != nil {
		return agents.FoundItem{}, fmt.Errorf("reading an item of a memory: %w", err)
	}
	return rows[0].found(), nil
}

// Bounds of what one export holds.
const (
	maxExportItems = 10_000
	maxExportBytes = 16 << 20 // of the values' JSON
)

const sqlMemoryExport = `select * from (
	select ` + itemColumns + `, sum(octet_length(i.value::text)) over (order by i.namespace, i.key) as total, count(*) over () as of
	from store_items i where ` + itemsOfHolder + ` and ` + itemLives + `
) i where total <= @bytes order by i.namespace, i.key limit @limit`

type exportRow struct {
	itemRow
	Total int64
	// Of is how many there are in all, as of the same moment.
	Of int
}

// ExportMemory reads a whole memory in the order of names. Not found as for
// [DB.Memory]; too large when it holds more than 10,000 items or 16 MiB.
func (db *DB) ExportMemory(ctx context.Context, scope auth.Scope, m agents.Memory) ([]agents.Item, error) {
	if err := reach(scope, m); err != nil {
		return nil, err
	}
	args := memoryArgs(scope, m, named{"limit": maxExportItems, "bytes": maxExportBytes, "areas": []agents.Area{m.Area}})
	var (
		items   []exportRow
		counts  []areaCountRow
		holders []holderRow
	)
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		var read pgx.Batch
		collect(&read, &items, sqlMemoryExport, args)
		collect(&read, &counts, sqlMemoryCounts, args)
		collect(&read, &holders, sqlMemoryHolder, args)
		if err := tx.SendBatch(ctx, &read).Close(); err != nil {
			return translate(err)
		}
		page := memoryPage(m, nil, nil, counts, holders)
		switch {
		case !page.Holding.Member && page.Holding.Items == 0:
			return memoryNotFound()
		case len(items) == 0 && page.Holding.Items > 0, len(items) > 0 && items[0].Of > len(items):
			return fault.New(fault.KindTooLarge, "This memory is too large to export at once: at most 10,000 items and 16 MiB.")
		}
		return noteRead(tx, scope, m, page.Holding.Name, nil)
	})
	if err != nil {
		return nil, fmt.Errorf("exporting a memory: %w", err)
	}
	out := make([]agents.Item, len(items))
	for i, r := range items {
		out[i] = r.item()
	}
	return out, nil
}

func refArgs(scope auth.Scope, ref agents.ItemRef) (named, error) {
	if err := reach(scope, ref.Memory); err != nil {
		return nil, err
	}
	if validateNamespace("ns", ref.Namespace) != nil || validateName("key", ref.Key, MaxItemKeyRunes, "") != nil {
		return nil, memoryNotFound()
	}
	return memoryArgs(scope, ref.Memory, named{"namespace": ref.Namespace, "key": ref.Key}), nil
}

// memoryEntry is a line of the audit log about a memory or one of its items. It
// never holds values: the log can't be cut, and what a person had forgotten
// must be gone.
func memoryEntry(action string, m agents.Memory, holder string, ref *agents.ItemRef) auth.AuditEntry {
	about := map[string]any{"area": m.Area}
	if ref != nil {
		about["namespace"], about["key"] = ref.Namespace, ref.Key
	}
	return auth.AuditEntry{Action: action, ObjectKind: "memory", ObjectID: string(m.Holder), ObjectName: holder, After: auditDetail(about)}
}

// noteRead records that somebody looked into another person's memory.
func noteRead(tx pgx.Tx, scope auth.Scope, m agents.Memory, holder string, ref *agents.ItemRef) error {
	if m.Of(scope.User) {
		return nil
	}
	return appendAudit(tx, scope, memoryEntry("memory.read", m, holder, ref))
}

// noteSearch records whose memories a search across all of them showed.
func noteSearch(tx pgx.Tx, scope auth.Scope, area agents.Area, found []foundRow) error {
	holders, seen := []string{}, map[string]bool{string(scope.User): true}
	for _, r := range found {
		if !seen[r.Holder] {
			seen[r.Holder] = true
			holders = append(holders, r.Holder)
		}
	}
	if len(holders) == 0 {
		return nil
	}
	return appendAudit(tx, scope, auth.AuditEntry{Action: "memory.read", ObjectKind: "memory", ObjectName: "a search of all",
		After: auditDetail(map[string]any{"area": area, "holders": holders})})
}
