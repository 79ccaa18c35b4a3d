package handlers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/views/memory"
	"github.com/heddle/heddle/views/ui"
)

// Memories reads and changes long-term memories. Its methods decide who may,
// and write down who looked into another person's.
type Memories interface {
	Holdings(ctx context.Context, scope auth.Scope, area agents.Area, after agents.HoldingCursor, limit int) ([]agents.Holding, error)
	SearchMemories(ctx context.Context, scope auth.Scope, area agents.Area, q agents.MemoryQuery) ([]agents.FoundItem, error)
	Memory(ctx context.Context, scope auth.Scope, m agents.Memory, q agents.MemoryQuery) (agents.MemoryPage, error)
	ExportMemory(ctx context.Context, scope auth.Scope, m agents.Memory) ([]agents.Item, error)
	MemoryItem(ctx context.Context, scope auth.Scope, ref agents.ItemRef) (agents.FoundItem, error)
	EditItem(ctx context.Context, scope auth.Scope, ref agents.ItemRef, value json.RawMessage, seen time.Time) error
	RemoveItem(ctx context.Context, scope auth.Scope, ref agents.ItemRef) error
	Forget(ctx context.Context, scope auth.Scope, m agents.Memory) (int, error)
}

// Memory serves the pages of memories: those of an organisation in the
// administration, a person's own with their account.
type Memory struct {
	frame    *Frame
	memories Memories
	clock    clock.Clock
}

// NewMemory makes the handlers.
func NewMemory(frame *Frame, memories Memories, clk clock.Clock) *Memory {
	return &Memory{frame: frame, memories: memories, clock: clk}
}

// shelf is one memory and where its pages are.
type shelf struct {
	agents.Memory
	// base is the address of its page.
	base string
	// own says that these are the pages of the account.
	own bool
}

// errNoMemory is what a memory looks like that is not there or not for the
// reader.
func errNoMemory() error { return fault.NotFound("Memory") }

// shelfOf finds out which memory a request is about.
func shelfOf(c *fiber.Ctx) (shelf, error) {
	scope := middleware.Scope(c)
	if area := utils.CopyString(c.Params("area")); area != "" {
		if err := scope.Require(auth.PermManageAssistant); err != nil {
			return shelf{}, err
		}
		m := agents.Memory{Area: agents.Area(area), Holder: agents.HolderID(utils.CopyString(c.Params("holder")))}
		return shelf{Memory: m, base: adminMemory(m)}, nil
	}
	area, err := areaOf(c)
	return shelf{Memory: agents.Memory{Area: area, Holder: agents.HolderID(scope.User)}, base: "/account/memory", own: true}, err
}

func adminMemory(m agents.Memory) string {
	return "/admin/memory/" + string(m.Area) + "/" + url.PathEscape(string(m.Holder))
}

// areaOf reads the field area of a query or form; the first area without one.
func areaOf(c *fiber.Ctx) (agents.Area, error) {
	area := agents.Area(field(c, "area"))
	switch {
	case area == "":
		return agents.AreaUser, nil
	case !area.Valid():
		return "", errNoMemory()
	}
	return area, nil
}

// field reads a field of the form, or else of the query.
func field(c *fiber.Ctx, name string) string {
	if c.Method() == fiber.MethodPost {
		return utils.CopyString(c.FormValue(name))
	}
	return utils.CopyString(c.Query(name))
}

// words are the search of the request.
func words(c *fiber.Ctx) string { return strings.TrimSpace(field(c, "q")) }

// namespaceOf reads a namespace: its parts hold no dots.
func namespaceOf(c *fiber.Ctx) []string {
	if ns := field(c, "ns"); ns != "" {
		return strings.Split(ns, ".")
	}
	return nil
}

// href gives the address of path with the parameters that are not empty, in
// pairs.
func href(path string, pairs ...string) string {
	query := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			query.Set(pairs[i], pairs[i+1])
		}
	}
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// areaParam names the area in addresses of the account; the first one needs no
// name, and the administration's paths hold it.
func (s shelf) areaParam() string {
	if !s.own || s.Area == agents.AreaUser {
		return ""
	}
	return string(s.Area)
}

// itemHref is the address of an item of the memory.
func (s shelf) itemHref(ref agents.ItemRef) string {
	return href(s.base+"/item", "area", s.areaParam(), "ns", strings.Join(ref.Namespace, "."), "key", ref.Key)
}

func (m *Memory) frameOf(c *fiber.Ctx, own bool, csrf string) memory.Frame {
	f := memory.Frame{CSRF: csrf}
	if !own {
		nav := adminNav(middleware.Scope(c), "memory")
		f.Admin = &nav
	}
	return f
}

// Overview is GET /admin/memory with area, q and after: the memories of an area,
// or what a search across all of them finds.
func (m *Memory) Overview(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return err
	}
	area, err := areaOf(c)
	if err != nil {
		return err
	}
	p := m.frame.page(c, "Memory")
	view := memory.Overview{Frame: m.frameOf(c, false, p.CSRF), Search: memory.Search{
		Action: "/admin/memory", Label: "Search keys and values", Text: words(c), Hidden: []memory.Hidden{{Name: "area", Value: string(area)}}}}
	for _, a := range agents.Areas() {
		view.Areas = append(view.Areas, memory.Area{Label: areaWords(a), Href: href("/admin/memory", "area", string(a)), Current: a == area})
	}
	if view.Search.Text != "" {
		view.Search.Clear = href("/admin/memory", "area", string(area))
		err = m.found(c, area, &view)
	} else {
		err = m.holdings(c, area, &view)
	}
	if err != nil {
		return err
	}
	return html(c, fiber.StatusOK, memory.OverviewPage(p, view))
}

// memoryPage is how many memories or items one page lists.
const memoryPage = 50

func (m *Memory) holdings(c *fiber.Ctx, area agents.Area, view *memory.Overview) error {
	var after agents.HoldingCursor
	readCursor(c, &after)
	held, err := m.memories.Holdings(c.UserContext(), middleware.Scope(c), area, after, memoryPage+1)
	if err != nil {
		return err
	}
	if len(held) > memoryPage {
		held = held[:memoryPage]
		last := held[memoryPage-1]
		view.Next = href("/admin/memory", "area", string(area), "after", cursorText(agents.HoldingCursor{Name: last.Name, Holder: last.Holder}))
	}
	now := m.clock.Now()
	for _, h := range held {
		row := memory.Holding{Name: present.HolderName(h.Name), Note: h.Email, Href: adminMemory(h.Memory), Items: strconv.Itoa(h.Items)}
		if !h.Member {
			row.Note = "no longer in this organisation"
		}
		if h.Items > 0 {
			row.Changed = present.Time(h.UpdatedAt, now)
		}
		view.Holdings = append(view.Holdings, row)
	}
	return nil
}

func (m *Memory) found(c *fiber.Ctx, area agents.Area, view *memory.Overview) error {
	q := agents.MemoryQuery{Text: view.Search.Text, Limit: memoryPage + 1}
	readCursor(c, &q.After)
	scope := middleware.Scope(c)
	found, err := m.memories.SearchMemories(c.UserContext(), scope, area, q)
	if err != nil {
		return err
	}
	if len(found) > memoryPage {
		found = found[:memoryPage]
		view.Next = href("/admin/memory", "area", string(area), "q", q.Text, "after", cursorText(cursorAt(found[memoryPage-1])))
	}
	words := present.Memory{Viewer: scope.User, Now: m.clock.Now(), Href: func(ref agents.ItemRef) string {
		return shelf{Memory: ref.Memory, base: adminMemory(ref.Memory)}.itemHref(ref)
	}}
	for _, i := range found {
		view.Found = append(view.Found, words.Item(i, present.HolderName(i.HolderName)))
	}
	return nil
}

// Show is GET /admin/memory/:area/:holder and GET /account/memory, with ns, q
// and after, the latter also with area.
func (m *Memory) Show(c *fiber.Ctx) error {
	s, err := shelfOf(c)
	if err != nil {
		return err
	}
	scope := middleware.Scope(c)
	q := agents.MemoryQuery{Prefix: namespaceOf(c), Text: words(c), Limit: memoryPage + 1}
	readCursor(c, &q.After)
	read, err := m.memories.Memory(c.UserContext(), scope, s.Memory, q)
	if err != nil {
		return err
	}
	name := present.HolderName(read.Holding.Name)
	title := "Memory of " + name
	if s.own {
		title = "Memory"
	}
	p := m.frame.page(c, title)
	ns := strings.Join(q.Prefix, ".")
	view := memory.Memory{Frame: m.frameOf(c, s.own, p.CSRF), Title: title, Lead: lead(s, name, p.Org.Name),
		Search: memory.Search{Action: s.base, Label: "Search keys and values", Text: q.Text,
			Hidden: fields("area", s.areaParam(), "ns", ns)}}
	if !s.own {
		view.Back = &memory.Link{Label: "Memory", Href: href("/admin/memory", "area", string(s.Area))}
	}
	if q.Text != "" {
		view.Search.Clear = href(s.base, "area", s.areaParam(), "ns", ns)
	}
	view.Areas = areaTabs(s, read.Counts)
	view.All, view.Narrowed = href(s.base, "area", s.areaParam(), "q", q.Text), ns != ""
	for _, n := range read.Namespaces {
		place := strings.Join(n.Namespace, ".")
		view.Namespaces = append(view.Namespaces, memory.Namespace{Label: present.NamespaceLabel(n.Namespace), Count: strconv.Itoa(n.Items),
			Href: href(s.base, "area", s.areaParam(), "ns", place, "q", q.Text), Current: place == ns})
	}
	if len(read.Items) > memoryPage {
		read.Items = read.Items[:memoryPage]
		view.Next = href(s.base, "area", s.areaParam(), "ns", ns, "q", q.Text, "after", cursorText(cursorAt(read.Items[memoryPage-1])))
	}
	view.Groups = present.Memory{Viewer: scope.User, Now: m.clock.Now(), Href: s.itemHref}.Groups(read.Items)
	view.Empty = emptyMemory(s, q)
	if read.Holding.Items > 0 {
		view.Export = href(s.base+"/export", "area", s.areaParam())
		view.Forget = forgetForm(s, name, read.Holding.Items)
	}
	return html(c, fiber.StatusOK, memory.Page(p, view))
}

// exportedItem is one item of the file that an export is.
type exportedItem struct {
	Namespace []string        `json:"namespace"`
	Key       string          `json:"key"`
	Value     json.RawMessage `json:"value"`
	CreatedAt time.Time       `json:"created_at"`
	UpdatedAt time.Time       `json:"updated_at"`
	ExpiresAt *time.Time      `json:"expires_at,omitempty"`
	RunID     string          `json:"run_id,omitempty"`
	ThreadID  string          `json:"thread_id,omitempty"`
	Tool      string          `json:"tool,omitempty"`
}

// Export is GET to the address of a memory and /export: all of it as a file of
// JSON, {"items": […]}.
func (m *Memory) Export(c *fiber.Ctx) error {
	s, err := shelfOf(c)
	if err != nil {
		return err
	}
	items, err := m.memories.ExportMemory(c.UserContext(), middleware.Scope(c), s.Memory)
	if err != nil {
		return err
	}
	out := make([]exportedItem, len(items))
	for n, i := range items {
		out[n] = exportedItem{Namespace: i.Namespace, Key: i.Key, Value: i.Value, CreatedAt: i.CreatedAt, UpdatedAt: i.UpdatedAt,
			RunID: string(i.Source.Run), ThreadID: string(i.Source.Thread), Tool: i.Source.Tool}
		if !i.ExpiresAt.IsZero() {
			out[n].ExpiresAt = &i.ExpiresAt
		}
	}
	c.Set(fiber.HeaderContentDisposition, `attachment; filename="memory.json"`)
	return c.JSON(fiber.Map{"items": out})
}

// areaTabs lead between the memories of one holder. On one's own page an area
// without items is not offered.
func areaTabs(s shelf, counts map[agents.Area]int) []memory.Area {
	var out []memory.Area
	for _, a := range agents.Areas() {
		if s.own && a != agents.AreaUser && a != s.Area && counts[a] == 0 {
			continue
		}
		other := shelf{Memory: agents.Memory{Area: a, Holder: s.Holder}, base: s.base, own: s.own}
		if !s.own {
			other.base = adminMemory(other.Memory)
		}
		label := areaWords(a)
		switch {
		case a == agents.AreaUser && s.own:
			label = "About you"
		case a == agents.AreaUser:
			label = "Remembered"
		}
		out = append(out, memory.Area{Label: label + " (" + strconv.Itoa(counts[a]) + ")",
			Href: href(other.base, "area", other.areaParam()), Current: a == s.Area})
	}
	return out
}

// areaWords says whose memories an area holds.
func areaWords(a agents.Area) string {
	switch a {
	case agents.AreaAPI:
		return "API clients"
	default:
		return "People"
	}
}

func lead(s shelf, name, org string) string {
	switch {
	case s.Area == agents.AreaAPI && s.own:
		return "What programs stored with your API keys in " + org + "."
	case s.Area == agents.AreaAPI:
		return "What programs stored with the API keys of " + name + "."
	case s.own:
		return "What assistants remember about you in " + org + ". You decide what stays. Whoever manages assistants can read it too; the audit log says when they did."
	default:
		return "What assistants remember about " + name + "."
	}
}

func emptyMemory(s shelf, q agents.MemoryQuery) ui.Empty {
	switch {
	case q.Text != "":
		return ui.Empty{Icon: "search", Title: "Nothing found", Text: "No key or value has all words of «" + q.Text + "»."}
	case s.own && s.Area == agents.AreaUser:
		return ui.Empty{Icon: "memory", Title: "Nothing is remembered", Text: "Tell an assistant «remember that I like tea» and it will be listed here."}
	default:
		return ui.Empty{Icon: "memory", Title: "Nothing is remembered", Text: "Items will be listed here by namespace."}
	}
}

func forgetForm(s shelf, name string, items int) *memory.Forget {
	count := strconv.Itoa(items) + " items"
	if items == 1 {
		count = "1 item"
	}
	f := &memory.Forget{Action: s.base + "/forget", Hidden: fields("area", s.areaParam())}
	switch {
	case s.Area == agents.AreaAPI:
		f.Title, f.Button = "Delete everything stored", "Delete "+count+" of API clients of "+name
		f.Text = "Deletes what programs stored here. They may rely on it."
		if s.own {
			f.Button = "Delete " + count + " of your API clients"
		}
	case s.own:
		f.Title, f.Button = "Forget everything", "Forget "+count+" about me"
		f.Text = "Deletes all that is remembered about you here. Your threads stay."
	default:
		f.Title, f.Button = "Forget "+name, "Forget "+count+" about "+name
		f.Text = "Deletes all that is remembered about " + name + ". Threads stay."
	}
	return f
}

// fields make hidden fields of pairs, without the empty ones.
func fields(pairs ...string) []memory.Hidden {
	var out []memory.Hidden
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out = append(out, memory.Hidden{Name: pairs[i], Value: pairs[i+1]})
		}
	}
	return out
}

// Forget is POST /admin/memory/:area/:holder/forget and POST
// /account/memory/forget with area: the whole memory is deleted.
func (m *Memory) Forget(c *fiber.Ctx) error {
	s, err := shelfOf(c)
	if err != nil {
		return err
	}
	if _, err := m.memories.Forget(c.UserContext(), middleware.Scope(c), s.Memory); err != nil {
		return err
	}
	if s.own {
		return done(c, href(s.base, "area", s.areaParam()))
	}
	return done(c, href("/admin/memory", "area", string(s.Area)))
}

// readCursor reads the parameter after into a cursor; one that is not ours
// means the start.
func readCursor[T any](c *fiber.Ctx, into *T) {
	raw, err := base64.RawURLEncoding.DecodeString(c.Query("after"))
	var read T
	if err == nil && json.Unmarshal(raw, &read) == nil {
		*into = read
	}
}

func cursorText(cursor any) string {
	raw, err := json.Marshal(cursor)
	if err != nil {
		return "" // cursors are made of texts and times
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

func cursorAt(i agents.FoundItem) agents.ItemCursor {
	return agents.ItemCursor{UpdatedAt: i.UpdatedAt, Holder: i.Memory.Holder, Namespace: i.Namespace, Key: i.Key}
}
