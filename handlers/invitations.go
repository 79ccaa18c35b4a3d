package handlers

import (
	"context"
	"net/url"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/views/admin"
)

// Invitations keeps invitations.
type Invitations interface {
	Invitations(ctx context.Context, scope auth.Scope, now time.Time) ([]auth.Invitation, error)
	CreateInvitation(ctx context.Context, scope auth.Scope, i auth.Invitation, token auth.Digest) error
	RevokeInvitation(ctx context.Context, scope auth.Scope, invitation auth.InvitationID, now time.Time) error
}

// Mailer mails an invitation's link to its address. i names the organisation
// and who invites.
type Mailer interface {
	MailInvitation(ctx context.Context, scope auth.Scope, i auth.Invitation, link string) error
}

// mailLimit bounds handing one mail to its server while a person waits.
const mailLimit = 10 * time.Second

// inviteForm is what a form for an invitation says, as typed.
type inviteForm struct {
	email string
	role  auth.Role
}

// Invite is POST /admin/members with the fields email and role. The link
// stands on the answering page and nowhere else; a refused form comes back as it
// was typed.
func (m *Members) Invite(c *fiber.Ctx) error {
	scope, now := middleware.Scope(c), m.clock.Now()
	form := inviteForm{email: utils.CopyString(c.FormValue("email")), role: auth.Role(utils.CopyString(c.FormValue("role")))}
	email, ok := auth.NormalizeEmail(form.email)
	if !ok {
		email = form.email // the store says what is wrong with it
	}
	in, _ := middleware.SignedIn(c)
	i := auth.Invitation{ID: auth.InvitationID(id.New()), Org: in.Org, Email: email, Role: form.role, InvitedBy: scope.User,
		Inviter: in.User.Called(), CreatedAt: now, ExpiresAt: now.Add(auth.InvitationLifetime)}
	token := auth.NewToken()
	err := m.store.CreateInvitation(c.UserContext(), scope, i, token.Digest())
	c.Set(fiber.HeaderCacheControl, "no-store")
	if fault.Is(err, fault.KindInvalid) && !wantsJSON(c) {
		return m.list(c, middleware.Status(fault.KindInvalid), form,
			admin.Members{Invite: admin.InviteForm{Errors: sentences(fault.FieldsOf(err))}})
	}
	if err != nil {
		return err
	}
	middleware.KeepSecret(c)
	link := m.baseURL + "/auth/login?invitation=" + url.QueryEscape(token.Reveal())
	mail := m.mail(c, scope, i, link)
	if wantsJSON(c) {
		return c.Status(fiber.StatusCreated).JSON(fiber.Map{"id": i.ID, "email": email, "role": i.Role, "link": link,
			"expires_at": i.ExpiresAt.UTC().Format(time.RFC3339), "mailed": mail == admin.MailSent})
	}
	return m.list(c, fiber.StatusCreated, inviteForm{role: auth.RoleMember}, admin.Members{Invited: &admin.Invited{
		Email: email, Role: string(i.Role), Link: link, Expires: present.Date(i.ExpiresAt), Mail: mail}})
}

// mail sends the link where that is set up. The invitation stands whether it
// succeeds or not: the page shows the link.
func (m *Members) mail(c *fiber.Ctx, scope auth.Scope, i auth.Invitation, link string) admin.Mail {
	if m.mailer == nil {
		return admin.MailNone
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), mailLimit)
	defer cancel()
	if err := m.mailer.MailInvitation(ctx, scope, i, link); err != nil {
		m.frame.log.WarnContext(ctx, "an invitation could not be mailed", "request_id", middleware.RequestIDOf(c), "org_id", scope.Org, "err", err)
		return admin.MailFailed
	}
	return admin.MailSent
}

// Withdraw is POST /admin/invitations/:invitation/revoke: the link works no more.
func (m *Members) Withdraw(c *fiber.Ctx) error {
	scope, invitation := middleware.Scope(c), utils.CopyString(c.Params("invitation"))
	if err := scope.Require(auth.PermManageMembers); err != nil {
		return err
	}
	if !id.Valid(invitation) {
		return fault.NotFound("Invitation")
	}
	if err := m.store.RevokeInvitation(c.UserContext(), scope, auth.InvitationID(invitation), m.clock.Now()); err != nil {
		return err
	}
	return done(c, "/admin/members?done=withdrawn")
}
