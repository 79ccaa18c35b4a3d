package handlers

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/views/memory"
)

// maxShownEdit is the longest value, in bytes as stored, that the page offers to
// edit: what may be saved.
const maxShownEdit = 64 << 10

// itemOf finds out which item a request is about, by the fields ns and key.
func itemOf(c *fiber.Ctx) (shelf, agents.ItemRef, error) {
	s, err := shelfOf(c)
	return s, agents.ItemRef{Memory: s.Memory, Namespace: namespaceOf(c), Key: field(c, "key")}, err
}

// Item is GET /admin/memory/:area/:holder/item and GET /account/memory/item,
// with ns and key.
func (m *Memory) Item(c *fiber.Ctx) error {
	s, ref, err := itemOf(c)
	if err != nil {
		return err
	}
	return m.item(c, s, ref, fiber.StatusOK, nil, nil)
}

// Edit is POST to the address of an item with ns, key, value and seen, the
// moment of the value that the form showed. What was refused comes back as it
// was typed, with what is stored now beside it.
func (m *Memory) Edit(c *fiber.Ctx) error {
	s, ref, err := itemOf(c)
	if err != nil {
		return err
	}
	typed := field(c, "value")
	seen, err := time.Parse(time.RFC3339Nano, field(c, "seen"))
	if err != nil {
		seen = time.Time{} // not one of ours: the item has changed since
	}
	err = m.memories.EditItem(c.UserContext(), middleware.Scope(c), ref, json.RawMessage(typed), seen)
	switch {
	case err == nil:
		return done(c, s.itemHref(ref))
	case fault.Is(err, fault.KindNotFound) && typed != "" && !wantsJSON(c):
		p := m.frame.page(c, "No such item")
		back := memory.Link{Label: "Memory", Href: memoryHome(s)}
		return html(c, fiber.StatusNotFound, memory.Gone(p, m.frameOf(c, s.own, p.CSRF), back, typed))
	case wantsJSON(c) || !fault.Is(err, fault.KindInvalid) && !fault.Is(err, fault.KindConflict):
		return err
	default:
		return m.item(c, s, ref, middleware.Status(fault.KindOf(err)), &typed, err)
	}
}

// Delete is POST to the address of an item and /delete, with ns and key.
func (m *Memory) Delete(c *fiber.Ctx) error {
	s, ref, err := itemOf(c)
	if err != nil {
		return err
	}
	if err := m.memories.RemoveItem(c.UserContext(), middleware.Scope(c), ref); err != nil {
		return err
	}
	return done(c, href(s.base, "area", s.areaParam()))
}

// memoryHome is a page of memories that is there even if the memory is not.
func memoryHome(s shelf) string {
	if s.own {
		return s.base
	}
	return "/admin/memory"
}

// item shows an item; a refused edit comes back with its reason.
func (m *Memory) item(c *fiber.Ctx, s shelf, ref agents.ItemRef, status int, typed *string, refused error) error {
	scope, now := middleware.Scope(c), m.clock.Now()
	i, err := m.memories.MemoryItem(c.UserContext(), scope, ref)
	if err != nil {
		return err
	}
	name := present.HolderName(i.HolderName)
	p := m.frame.page(c, ref.Key)
	view := memory.ItemPage{
		Frame: m.frameOf(c, s.own, p.CSRF), Back: memory.Link{Label: "Memory", Href: href(s.base, "area", s.areaParam())},
		Title: i.Key, Namespace: present.NamespaceLabel(i.Namespace), Value: present.JSON(i.Value),
		Origin: present.Memory{Viewer: scope.User, Now: now}.Origin(i), Tool: i.Source.Tool,
		Created: present.Time(i.CreatedAt, now), Changed: present.Time(i.UpdatedAt, now),
		Action: s.base + "/item", Hidden: fields("area", s.areaParam(), "ns", strings.Join(ref.Namespace, "."), "key", ref.Key),
		DeleteText: "Assistants will not recall it any more.", Deleted: "Delete «" + present.NamespaceLabel(i.Namespace) + " › " + i.Key + "»",
	}
	if s.Area == agents.AreaAPI {
		view.DeleteText = "Programs that stored it may rely on it."
	}
	if !s.own {
		view.Back.Label, view.Whose = "Memory of "+name, name
	}
	if !i.ExpiresAt.IsZero() {
		view.Expires = present.Date(i.ExpiresAt)
	}
	edit := memory.Edit{Text: view.Value, Seen: i.UpdatedAt.Format(time.RFC3339Nano)}
	switch {
	case refused != nil:
		edit.Text, edit.Error = *typed, reason(refused, "value")
		view.Edit = &edit
	case len(i.Value) > maxShownEdit:
		view.EditLimit = "This value is larger than 64 KiB, which is more than can be edited here. Programs can change it."
	default:
		view.Edit = &edit
	}
	return html(c, status, memory.OneItem(p, view))
}

// reason says under a field why it was refused.
func reason(err error, name string) string {
	if rule, ok := sentences(fault.FieldsOf(err))[name]; ok {
		return rule
	}
	return fault.Public(err)
}
