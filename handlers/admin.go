package handlers

import (
	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/views/admin"
)

// adminRoom is a page of the administration and what it takes to enter.
type adminRoom struct {
	admin.Room
	needs auth.Permission
}

// adminRooms are the rooms in the order of the navigation.
func adminRooms() []adminRoom {
	return []adminRoom{
		{admin.Room{Name: "assistants", Label: "Assistants", Icon: "assistant", Href: "/admin/assistants"}, auth.PermManageAssistant},
		{admin.Room{Name: "memory", Label: "Memory", Icon: "memory", Href: "/admin/memory"}, auth.PermManageAssistant},
		{admin.Room{Name: "members", Label: "Members", Icon: "people", Href: "/admin/members"}, auth.PermManageMembers},
		{admin.Room{Name: "keys", Label: "API keys", Icon: "key", Href: "/admin/keys"}, auth.PermManageKeys},
		{admin.Room{Name: "audit", Label: "Audit log", Icon: "audit", Href: "/admin/audit"}, auth.PermReadAudit},
		{admin.Room{Name: "organisation", Label: "Organisation", Icon: "settings", Href: "/admin/organisation"}, auth.PermManageOrg},
	}
}

// adminNav is the navigation as the scope may use it.
func adminNav(scope auth.Scope, current string) admin.Nav {
	nav := admin.Nav{Current: current}
	for _, r := range adminRooms() {
		if scope.Can(r.needs) {
			nav.Rooms = append(nav.Rooms, r.Room)
		}
	}
	return nav
}

// AdminHome is GET /admin: the first room the person may enter.
func AdminHome(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	if nav := adminNav(scope, ""); len(nav.Rooms) > 0 {
		return c.Redirect(nav.Rooms[0].Href, fiber.StatusSeeOther)
	}
	return scope.Require(auth.PermManageAssistant)
}
