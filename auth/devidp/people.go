package devidp

import (
	"slices"
	"strings"

	"github.com/heddle/heddle/auth"
)

// Person is somebody of the demo organisations.
type Person struct {
	// Login is the part of the address before the @.
	Login string
	Name  string
	// OrgSlug and OrgName name the person's organisation.
	OrgSlug string
	OrgName string
	Role    auth.Role
}

// Email is NAME@ORG.test. The top-level domain test is reserved (RFC 2606), so
// no mail can leave.
func (p Person) Email() string { return p.Login + "@" + p.OrgSlug + ".test" }

// Subject is the person's sub claim. It is the same after every restart, so a
// database that knows the person keeps knowing them.
func (p Person) Subject() string { return "demo-" + p.OrgSlug + "-" + p.Login }

// Domain is the e-mail domain of the person's organisation.
func (p Person) Domain() string { return p.OrgSlug + ".test" }

// People lists the demo people, by organisation and then from the most
// powerful role down.
func People() []Person {
	return []Person{
		{"olga", "Olga", "acme", "Acme", auth.RoleOwner},
		{"ada", "Ada", "acme", "Acme", auth.RoleAdmin},
		{"ray", "Ray", "acme", "Acme", auth.RoleReviewer},
		{"mia", "Mia", "acme", "Acme", auth.RoleMember},
		{"max", "Max", "acme", "Acme", auth.RoleMember},
		{"gus", "Gus", "globex", "Globex", auth.RoleAdmin},
		{"gia", "Gia", "globex", "Globex", auth.RoleMember},
	}
}

func personByEmail(email string) (Person, bool) {
	people := People()
	i := slices.IndexFunc(people, func(p Person) bool { return strings.EqualFold(p.Email(), email) })
	if i < 0 {
		return Person{}, false
	}
	return people[i], true
}
