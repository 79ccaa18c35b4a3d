package handlers

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/views/admin"
	"github.com/heddle/heddle/views/ui"
)

// MemberStore reads and changes who belongs to an organisation. What ends or
// changes somebody's place gives what they are connected with.
type MemberStore interface {
	Invitations
	Members(ctx context.Context, scope auth.Scope, q auth.MemberQuery) (members []auth.Member, total int, err error)
	Member(ctx context.Context, scope auth.Scope, member auth.UserID) (auth.Member, error)
	SetRole(ctx context.Context, scope auth.Scope, member auth.UserID, role auth.Role) (auth.Credentials, error)
	RemoveMember(ctx context.Context, scope auth.Scope, member auth.UserID, now time.Time) (auth.Credentials, error)
	LeaveOrg(ctx context.Context, scope auth.Scope, now time.Time) (auth.Credentials, error)
}

// Members serves the administration of members and invitations.
type Members struct {
	frame   *Frame
	store   MemberStore
	sockets Sockets
	cookie  middleware.SessionCookie
	clock   clock.Clock
	// mailer may be nil: then an invitation's link is only shown.
	mailer  Mailer
	baseURL string
}

// NewMembers makes the handlers; mailer may be nil.
func NewMembers(frame *Frame, store MemberStore, sockets Sockets, cookie middleware.SessionCookie, clk clock.Clock, mailer Mailer, baseURL string) *Members {
	return &Members{frame: frame, store: store, sockets: sockets, cookie: cookie, clock: clk, mailer: mailer, baseURL: baseURL}
}

// List is GET /admin/members with q and role as the filter, sort (name, role or
// joined), dir (asc or desc) and page.
func (m *Members) List(c *fiber.Ctx) error {
	return m.list(c, fiber.StatusOK, inviteForm{role: auth.RoleMember}, admin.Members{})
}

// list shows the page; a refused invitation comes back as it was typed.
func (m *Members) list(c *fiber.Ctx, status int, form inviteForm, view admin.Members) error {
	scope, now := middleware.Scope(c), m.clock.Now()
	if err := scope.Require(auth.PermManageMembers); err != nil {
		return err
	}
	ask, err := readMemberList(c)
	if err != nil {
		return err
	}
	members, total, err := m.store.Members(c.UserContext(), scope, ask.query())
	if err != nil {
		return err
	}
	invitations, err := m.store.Invitations(c.UserContext(), scope, now)
	if err != nil {
		return err
	}
	p := m.frame.page(c, "Members")
	p.Flash = notice(c)
	ask.present(&view, total)
	view.Org, view.CSRF = p.Org.Name, p.CSRF
	for _, x := range members {
		view.Members = append(view.Members, admin.MemberRow{ID: string(x.User), Name: x.Name, Email: x.Email, Role: string(x.Role),
			You: x.User == scope.User, Joined: present.Time(x.JoinedAt, now), Seen: timeOrNever(x.LastSeenAt, now)})
	}
	for _, i := range invitations {
		view.Invitations = append(view.Invitations, admin.OpenInvitation{ID: string(i.ID), Email: i.Email, Role: string(i.Role),
			Inviter: i.Inviter, Made: present.Time(i.CreatedAt, now), Expires: present.Date(i.ExpiresAt), Expired: !i.Open(now)})
	}
	view.Invite = admin.InviteForm{Email: form.email, Roles: roleOptions(scope.Role, form.role), Errors: view.Invite.Errors}
	return html(c, status, admin.MembersPage(p, adminNav(scope, "members"), view))
}

// timeOrNever presents a moment that may not have come; never has no text.
func timeOrNever(t, now time.Time) ui.Time {
	if t.IsZero() {
		return ui.Time{}
	}
	return present.Time(t, now)
}

// roleOptions are the roles that someone may give.
func roleOptions(own, chosen auth.Role) []ui.Option {
	var out []ui.Option
	for _, r := range own.UpTo() {
		out = append(out, ui.Option{Value: string(r), Label: roleWords(r), Selected: r == chosen})
	}
	return out
}

// roleWords says what a role is for.
func roleWords(r auth.Role) string {
	switch r {
	case auth.RoleMember:
		return "member: chats"
	case auth.RoleReviewer:
		return "reviewer: also decides reviews"
	case auth.RoleAdmin:
		return "admin: also runs the administration"
	default:
		return "owner: also runs the organisation"
	}
}

// Show is GET /admin/members/:user.
func (m *Members) Show(c *fiber.Ctx) error {
	scope, now := middleware.Scope(c), m.clock.Now()
	member, err := memberParam(c)
	if err != nil {
		return err
	}
	x, err := m.store.Member(c.UserContext(), scope, member)
	if err != nil {
		return err
	}
	p := m.frame.page(c, x.Name)
	p.Flash = notice(c)
	view := admin.Member{ID: string(x.User), Name: x.Name, Email: x.Email, Role: string(x.Role), Org: p.Org.Name, CSRF: p.CSRF,
		Joined: present.Time(x.JoinedAt, now), Seen: timeOrNever(x.LastSeenAt, now), Keys: counted(x.Keys, "key", "keys"),
		You: x.User == scope.User, Roles: roleOptions(scope.Role, x.Role)}
	if x.Keys > 0 && scope.Can(auth.PermManageKeys) {
		view.KeysHref = "/admin/keys?" + url.Values{"person": {x.Email}}.Encode()
	}
	if x.Role.Above(scope.Role) {
		view.Locked = "Only an " + string(x.Role) + " can change an " + string(x.Role) + "."
	}
	return html(c, fiber.StatusOK, admin.MemberPage(p, adminNav(scope, "members"), view))
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// memberParam reads which member an address names. Permission comes first: a
// stranger to the administration learns nothing about ids.
func memberParam(c *fiber.Ctx) (auth.UserID, error) {
	if err := middleware.Scope(c).Require(auth.PermManageMembers); err != nil {
		return "", err
	}
	member := utils.CopyString(c.Params("user"))
	if !id.Valid(member) {
		return "", fault.NotFound("Member")
	}
	return auth.UserID(member), nil
}

// SetRole is POST /admin/members/:user/role with the field role. The person's
// sockets are closed, so that what they watch is asked for again in the new role.
func (m *Members) SetRole(c *fiber.Ctx) error {
	scope, role := middleware.Scope(c), auth.Role(utils.CopyString(c.FormValue("role")))
	member, err := memberParam(c)
	if err != nil {
		return err
	}
	changed, err := m.store.SetRole(c.UserContext(), scope, member, role)
	if err != nil {
		return err
	}
	m.sockets.closeAll(c, changed, "the role was changed")
	if after := scope; member == scope.User {
		if after.Role = role; !after.Can(auth.PermManageMembers) {
			return done(c, "/")
		}
	}
	return done(c, "/admin/members/"+string(member)+"?done=role")
}

// Remove is POST /admin/members/:user/remove: the membership ends, and at once
// everything the person was connected with.
func (m *Members) Remove(c *fiber.Ctx) error {
	member, err := memberParam(c)
	if err != nil {
		return err
	}
	ended, err := m.store.RemoveMember(c.UserContext(), middleware.Scope(c), member, m.clock.Now())
	if err != nil {
		return err
	}
	m.sockets.closeAll(c, ended, "removed from the organisation")
	if member == middleware.Scope(c).User {
		m.cookie.Write(c, "")
		return done(c, "/auth/login")
	}
	return done(c, "/admin/members?done=removed")
}

// Leave is POST /account/leave: one's own membership of the present organisation
// ends, and with it the session.
func (m *Members) Leave(c *fiber.Ctx) error {
	ended, err := m.store.LeaveOrg(c.UserContext(), middleware.Scope(c), m.clock.Now())
	if err != nil {
		return err
	}
	m.sockets.closeAll(c, ended, "left the organisation")
	m.cookie.Write(c, "")
	return done(c, "/auth/login")
}
