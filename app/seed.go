package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/heddle/heddle/app/demo"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/auth/devidp"
	"github.com/heddle/heddle/config"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/store"
)

// demoPeople are offered on the sign-in page, in development only.
func demoPeople(cfg *config.Config) []devidp.Person {
	if !cfg.Server.Env.Development() {
		return nil
	}
	return devidp.People()
}

// Seed fills a development database with the demo's organisations, people and
// assistants. What exists stays as it is.
func (a *App) Seed(ctx context.Context) error {
	cfg := a.o.Config
	scopes := map[string]auth.Scope{}
	for _, p := range devidp.People() {
		scope, err := a.db.EnsurePerson(ctx, auth.Person{
			Identity: auth.Identity{Issuer: devidp.Issuer(cfg.Server.BaseURL), Subject: p.Subject()},
			Provider: devidp.ProviderName, Email: p.Email(), Name: p.Name, OrgSlug: p.OrgSlug, OrgName: p.OrgName, Role: p.Role,
		})
		if err != nil {
			return fmt.Errorf("seeding %s: %w", p.Email(), err)
		}
		if scope.Can(auth.PermManageAssistant) {
			scopes[p.OrgSlug] = scope
		}
	}
	documents, err := demo.Documents()
	if err != nil {
		return err
	}
	for slug, scope := range scopes {
		for _, d := range documents {
			if err := a.db.PutDocument(ctx, scope, store.Document{
				Slug: d.Slug, Title: d.Title, Tags: strings.Join(d.Tags, ", "), Body: d.Body}); err != nil {
				return fmt.Errorf("seeding the document %s of %s: %w", d.Slug, slug, err)
			}
		}
		if err := a.db.ProveDomain(ctx, slug, slug+".test", clock.System{}.Now()); err != nil {
			return fmt.Errorf("seeding the domain of %s: %w", slug, err)
		}
		if err := a.assistants.provide(ctx, scope); err != nil {
			return fmt.Errorf("seeding the assistants of %s: %w", slug, err)
		}
	}
	return nil
}
