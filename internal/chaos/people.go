package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/chaos/effect"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

// orgs is how many organisations share the installation.
const orgs = 5

// member is somebody of an organisation who acts through the API.
type member struct {
	scope auth.Scope
	key   string
}

// org is one organisation: who asks, two who decide, and its assistant. Its
// canary is a word that only its own threads may ever hold.
type org struct {
	slug      string
	canary    string
	asker     member
	reviewers [2]member
	assistant string
}

// makeOrgs makes the organisations in the database, as an operator would.
func makeOrgs(ctx context.Context, db *store.DB, seed uint64) ([]*org, error) {
	var out []*org
	for i := range orgs {
		slug := fmt.Sprintf("org-%d", i+1)
		o := &org{slug: slug, canary: fmt.Sprintf("canary%dx%d", i+1, seed)}
		person := func(role auth.Role, name string, scopes ...auth.KeyScope) (member, error) {
			mail := name + "@" + slug + ".test"
			scope, err := db.EnsurePerson(ctx, auth.Person{Identity: auth.Identity{Issuer: "https://chaos.test", Subject: mail},
				Provider: "chaos", Email: mail, Name: name, OrgSlug: slug, OrgName: slug, Role: role})
			if err != nil {
				return member{}, err
			}
			key, secret, err := auth.MintAPIKey(scope, auth.KeyID(id.New()), "chaos", scopes, 24*time.Hour, time.Now().UTC())
			if err != nil {
				return member{}, err
			}
			return member{scope, secret.Reveal()}, db.CreateAPIKey(ctx, scope, key)
		}
		admin, err := person(auth.RoleAdmin, "admin", auth.ScopeAdmin)
		if err != nil {
			return nil, err
		}
		if o.asker, err = person(auth.RoleMember, "asker", auth.ScopeRun); err != nil {
			return nil, err
		}
		for n := range o.reviewers {
			if o.reviewers[n], err = person(auth.RoleReviewer, fmt.Sprintf("reviewer-%d", n+1), auth.ScopeRun, auth.ScopeReview); err != nil {
				return nil, err
			}
		}
		made, err := db.CreateAssistant(ctx, admin.scope, agents.Assistant{Graph: "chat", Name: "Load", Config: agents.AssistantConfig{
			Model: "openai:load", Prompt: "You belong to " + o.canary + ".", Tools: []string{effect.Look, effect.Keyed, effect.Plain},
			Policies: []agents.ToolPolicy{{Tool: effect.Plain, Review: agents.ReviewWhen,
				When: []agents.Condition{{Path: "hold", Op: agents.OpEquals, Value: json.RawMessage("true")}}}},
		}}, "")
		if err != nil {
			return nil, err
		}
		o.assistant = string(made.ID)
		out = append(out, o)
	}
	return out, nil
}

// foreignCanary gives the organisation other than o whose word is in a text.
func foreignCanary(all []*org, o *org, text string) string {
	for _, other := range all {
		if other != o && strings.Contains(text, other.canary) {
			return other.slug
		}
	}
	return ""
}
