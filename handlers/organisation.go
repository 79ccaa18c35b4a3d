package handlers

import (
	"context"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/views/admin"
)

// OrgStore reads and changes an organisation's own rules.
type OrgStore interface {
	OrgSettings(ctx context.Context, scope auth.Scope) (auth.OrgSettings, error)
	SetOrgSettings(ctx context.Context, scope auth.Scope, s auth.OrgSettings) error
	RenameOrg(ctx context.Context, scope auth.Scope, name string) error
}

// Organisation serves the page of an organisation's name and rules.
type Organisation struct {
	frame *Frame
	store OrgStore
}

// NewOrganisation makes the handlers.
func NewOrganisation(frame *Frame, store OrgStore) *Organisation {
	return &Organisation{frame: frame, store: store}
}

// Show is GET /admin/organisation.
func (o *Organisation) Show(c *fiber.Ctx) error {
	in, _ := middleware.SignedIn(c)
	return o.show(c, fiber.StatusOK, admin.Organisation{Name: in.Org.Name})
}

func (o *Organisation) show(c *fiber.Ctx, status int, view admin.Organisation) error {
	scope := middleware.Scope(c)
	if err := scope.Require(auth.PermManageOrg); err != nil {
		return err
	}
	settings, err := o.store.OrgSettings(c.UserContext(), scope)
	if err != nil {
		return err
	}
	in, _ := middleware.SignedIn(c)
	p := o.frame.page(c, "Organisation")
	p.Flash = notice(c)
	view.Slug, view.FourEyes, view.CSRF = in.Org.Slug, settings.RequiresFourEyes(), p.CSRF
	return html(c, status, admin.OrganisationPage(p, adminNav(scope, "organisation"), view))
}

// Change is POST /admin/organisation with one of the fields name and four_eyes
// (on or off): each form of the page sends its own. A refused one comes back as
// it was typed.
func (o *Organisation) Change(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	if err := scope.Require(auth.PermManageOrg); err != nil {
		return err
	}
	in, _ := middleware.SignedIn(c)
	name, said := in.Org.Name, "rule"
	var err error
	if fields := c.Request().PostArgs(); fields.Has("name") {
		name, said = utils.CopyString(c.FormValue("name")), "name"
		err = o.store.RenameOrg(c.UserContext(), scope, name)
	} else {
		err = o.setFourEyes(c.UserContext(), scope, c.FormValue("four_eyes"))
	}
	if fault.Is(err, fault.KindInvalid) && !wantsJSON(c) {
		return o.show(c, middleware.Status(fault.KindInvalid), admin.Organisation{Name: name, Errors: sentences(fault.FieldsOf(err))})
	}
	if err != nil {
		return err
	}
	return done(c, "/admin/organisation?done="+said)
}

func (o *Organisation) setFourEyes(ctx context.Context, scope auth.Scope, text string) error {
	if text != "on" && text != "off" {
		return fault.Invalid("four_eyes", "must be on or off")
	}
	on := text == "on"
	return o.store.SetOrgSettings(ctx, scope, auth.OrgSettings{FourEyes: &on})
}
