package handlers_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/PuerkitoBio/goquery"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
	"github.com/heddle/heddle/realtime/socket"
)

// user gives the id of a demo person.
func user(s *testweb.Server, email string) string {
	org := strings.TrimSuffix(strings.SplitAfter(email, "@")[1], ".test")
	return string(s.Scope(org, email).User)
}

func names(p *testweb.Page) []string {
	var out []string
	p.Find(".members-table tbody th a").Each(func(_ int, a *goquery.Selection) { out = append(out, a.Text()) })
	return out
}

func TestTheAdministrationOpensByPermission(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := user(s, "mia@acme.test")
	pages := []string{"/admin/members", "/admin/members/" + mia, "/admin/keys", "/admin/organisation"}
	for email, open := range map[string]int{"mia@acme.test": 0, "ray@acme.test": 0, "ada@acme.test": 3, "olga@acme.test": 4} {
		c := s.SignIn(email)
		role := string(s.Scope("acme", email).Role)
		for i, path := range pages {
			p := s.Page(c, path)
			if i < open {
				require.Equal(t, http.StatusOK, p.Status, "%s as %s", path, email)
				require.Equal(t, 1, p.Find(`.admin-nav [aria-current="page"]`).Length(), path)
				continue
			}
			require.Equal(t, http.StatusForbidden, p.Status, "%s as %s", path, email)
			require.Contains(t, p.Text("main"), "Your role "+role+" does not include")
		}
	}
	gus := s.SignIn("gus@globex.test")
	require.Equal(t, []string{"Gia", "Gus"}, names(s.Page(gus, "/admin/members")), "another organisation's admin sees their own people")
	foreign, absent := s.Get(gus, "/admin/members/"+mia, "Accept", "text/html"), s.Get(gus, "/admin/members/"+id.New(), "Accept", "text/html")
	require.Equal(t, http.StatusNotFound, foreign.Status)
	require.Equal(t, s.PageOf(absent).Text("main"), s.PageOf(foreign).Text("main"))
	for _, action := range []string{"role", "remove"} {
		a := s.Post(gus, "/admin/members/"+mia+"/"+action, url.Values{"role": {"member"}})
		require.Equal(t, http.StatusNotFound, a.Status)
	}
	require.Equal(t, auth.RoleMember, s.Scope("acme", "mia@acme.test").Role)
}

func TestTheListOfMembersIsFilteredAndSortedByItsAddress(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada := s.SignIn("ada@acme.test")
	p := s.Page(ada, "/admin/members")
	require.Equal(t, []string{"Ada", "Max", "Mia", "Olga", "Ray"}, names(p))
	require.Equal(t, "5 members", p.Text(".filters-found"))
	require.Equal(t, "ascending", p.Find("th:has(.sort)").First().AttrOr("aria-sort", ""))
	byRole := p.Find(".sort").Eq(1).AttrOr("href", "")
	p = s.Page(ada, byRole)
	require.Equal(t, []string{"Max", "Mia", "Ray", "Ada", "Olga"}, names(p))
	p = s.Page(ada, p.Find(".sort").Eq(1).AttrOr("href", ""))
	require.Equal(t, []string{"Olga", "Ada", "Ray", "Max", "Mia"}, names(p), "the same head again turns the order round")
	p = s.Page(ada, "/admin/members?q=ACME&role=member&sort=name&dir=desc")
	require.Equal(t, []string{"Mia", "Max"}, names(p))
	require.Equal(t, "ACME", p.Find("#member-text").AttrOr("value", ""))
	require.Equal(t, "member", p.Find("#member-role option[selected]").AttrOr("value", ""))
	require.Contains(t, p.Find(".sort").First().AttrOr("href", ""), "q=ACME", "sorting keeps the filter")
	require.Contains(t, s.Page(ada, "/admin/members?q=unicorn").Text("main"), "Nobody found")
	for bad, field := range map[string]string{"role=root": "role", "sort=email": "sort", "dir=up": "dir", "page=0": "page", "page=x": "page",
		"q=" + strings.Repeat("x", 201): "q"} {
		a := s.Get(ada, "/admin/members?"+bad, "Accept", "application/json")
		require.Equal(t, http.StatusUnprocessableEntity, a.Status, bad)
		var body struct{ Fields map[string]string }
		a.JSON(t, &body)
		require.Contains(t, body.Fields, field)
	}
}

// post is a form sent by a script, so that refusals are read as data.
func post(t *testing.T, s *testweb.Server, c *http.Client, path string, form url.Values) (int, string, string) {
	t.Helper()
	form.Set("_csrf", s.CSRF(c))
	a := s.Do(c, "POST", path, []byte(form.Encode()), "Content-Type", "application/x-www-form-urlencoded", "Accept", "application/json")
	var body struct{ Code, Detail string }
	a.JSON(t, &body)
	return a.Status, body.Code, body.Detail
}

func TestRolesAreGivenWithinOnesOwn(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada, olga, mia := s.SignIn("ada@acme.test"), s.SignIn("olga@acme.test"), s.SignIn("mia@acme.test")
	to := func(email string) string { return "/admin/members/" + user(s, email) + "/role" }

	watching := s.Dial(mia)
	watching.Join("user", map[string]any{})
	a := s.Post(ada, to("mia@acme.test"), url.Values{"role": {"reviewer"}})
	require.Equal(t, http.StatusOK, a.Status)
	require.Contains(t, s.PageOf(a).Text(".facts"), "reviewer")
	require.Contains(t, s.PageOf(a).Text(".flash"), "The role was changed.")
	code, reason := watching.Closed()
	require.Equal(t, socket.CloseRevoked, code, "what she watches is asked for again")
	require.Equal(t, "the role was changed", reason)
	require.Contains(t, s.Page(mia, "/account").Text(".facts"), "Acme, reviewer", "her next request has the new role")
	s.Dial(mia).Join("user", map[string]any{})

	for _, c := range []struct {
		by      *http.Client
		path    string
		role    string
		status  int
		code    string
		message string
	}{
		{ada, to("mia@acme.test"), "owner", 403, "role_above_own", "Nobody can give a role above their own."},
		{ada, to("ada@acme.test"), "owner", 403, "role_above_own", "Nobody can give a role above their own."},
		{ada, to("olga@acme.test"), "member", 403, "role_above_own", "Only an owner can change an owner."},
		{ada, to("mia@acme.test"), "root", 422, "invalid", "role: must be member, reviewer, admin or owner"},
		{ada, to("mia@acme.test"), "", 422, "invalid", "role: must be member, reviewer, admin or owner"},
		{mia, to("max@acme.test"), "member", 403, "forbidden", "Your role reviewer does not include members.manage."},
		{olga, to("olga@acme.test"), "member", 409, "last_owner", "An organisation needs an owner. Make somebody else an owner first."},
		{olga, "/admin/members/no-id/role", "member", 404, "not_found", "Member not found"},
	} {
		status, code, message := post(t, s, c.by, c.path, url.Values{"role": {c.role}})
		require.Equal(t, c.status, status, "%s to %q", c.path, c.role)
		require.Equal(t, c.code, code)
		require.Equal(t, c.message, message)
	}
	require.Contains(t, s.Page(ada, "/admin/members/"+user(s, "olga@acme.test")).Text("main"), "Only an owner can change an owner.")
	require.Zero(t, s.Page(ada, "/admin/members/"+user(s, "olga@acme.test")).Find("main form").Length())
	require.NotContains(t, s.Page(ada, "/admin/members/"+user(s, "mia@acme.test")).Text("#member-new-role"), "owner")

	a = s.Post(ada, to("ada@acme.test"), url.Values{"role": {"member"}})
	require.Equal(t, "/", a.Path, "who gave up the administration is led out of it")
	require.Equal(t, http.StatusForbidden, s.Page(ada, "/admin/members").Status)
}

func TestRemovalEndsEverythingAtOnceOnEveryNode(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	far := testweb.Start(t, testweb.Options{DatabaseURL: s.DatabaseURL, RedisURL: s.RedisURL})
	ada, mia := s.SignIn("ada@acme.test"), s.SignIn("mia@acme.test")
	thread := s.NewThread(mia, "what is 17*23")
	s.WaitIdle(mia, thread)
	key := s.Key("acme", "mia@acme.test")
	open := map[string]*testweb.Socket{"page": s.Dial(mia), "page elsewhere": far.Dial(mia), "key": s.DialKey(key), "key elsewhere": far.DialKey(key)}
	for _, k := range open {
		k.Join("thread:"+thread, map[string]any{"after": 0})
	}
	others := s.Dial(s.SignIn("max@acme.test"))
	begin := time.Now()
	a := s.Post(ada, "/admin/members/"+user(s, "mia@acme.test")+"/remove", nil)
	require.Equal(t, "/admin/members", a.Path)
	require.Equal(t, []string{"Ada", "Max", "Olga", "Ray"}, names(s.PageOf(a)))
	for name, k := range open {
		code, reason := k.Closed()
		require.Equal(t, socket.CloseRevoked, code, name)
		require.Equal(t, "removed from the organisation", reason, "%s: told, rather than found out later", name)
	}
	require.Less(t, time.Since(begin), 2*time.Second)
	others.Join("user", map[string]any{})

	require.Equal(t, "/auth/login", s.Get(mia, "/", "Accept", "text/html").Path)
	require.Equal(t, http.StatusUnauthorized, s.API(key, "GET", "/api/threads/"+thread, nil).Status)
	require.Equal(t, http.StatusOK, s.Page(ada, "/threads/"+thread).Status, "her thread stays")
	require.Equal(t, http.StatusNotFound, s.Page(ada, "/admin/members/"+string(id.New())).Status)
}

func TestWhoLeavesIsSignedOutAndTheLastOwnerStays(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia, olga := s.SignIn("mia@acme.test"), s.SignIn("olga@acme.test")
	require.Equal(t, 1, s.Page(mia, "/account").Find(`form[action="/account/leave"]`).Length())
	here := s.Dial(mia)
	a := s.Post(mia, "/account/leave", nil)
	require.Equal(t, "/auth/login", a.Path)
	_, reason := here.Closed()
	require.Equal(t, "left the organisation", reason)
	require.Equal(t, "/auth/login", s.Get(mia, "/", "Accept", "text/html").Path)

	status, code, _ := post(t, s, olga, "/account/leave", url.Values{})
	require.Equal(t, http.StatusConflict, status)
	require.Equal(t, "last_owner", code)
	a = s.Post(olga, "/account/leave", nil)
	require.Equal(t, http.StatusConflict, a.Status)
	require.Contains(t, s.PageOf(a).Text("main"), "Make somebody else an owner first.")
	require.Equal(t, http.StatusOK, s.Page(olga, "/admin/organisation").Status, "and nothing of hers has ended")
}

func TestAnInvitationIsShownOnceAndUsedOnce(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada := s.SignIn("ada@acme.test")
	a := s.Post(ada, "/admin/members", url.Values{"email": {"Gia@globex.test"}, "role": {"reviewer"}})
	require.Equal(t, http.StatusCreated, a.Status)
	require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
	p := s.PageOf(a)
	require.Contains(t, p.Text(".card-good"), "Gia@globex.test is invited as reviewer")
	require.Contains(t, p.Text(".card-good"), "Copy the link and send it to them", "no mail is sent by this server")
	link := p.Text(".card-good [data-copy-text]")
	require.Regexp(t, `^`+s.URL()+`/auth/login\?invitation=[A-Za-z0-9_-]{43}$`, link)
	again := s.Page(ada, "/admin/members")
	require.NotContains(t, again.Text("main"), "invitation=", "and never again")
	row := again.Text(".admin-section tbody tr")
	for _, words := range []string{"Gia@globex.test", "reviewer", "just now", "by Ada", time.Now().UTC().Add(auth.InvitationLifetime).Format("2 Jan 2006")} {
		require.Contains(t, row, words)
	}

	token := strings.TrimPrefix(link, s.URL()+"/auth/login?invitation=")
	come := func(email string) *testweb.Page {
		return s.PageOf(s.Get(s.Stranger(), "/auth/dev?login_hint="+email+"&invitation="+token, "Accept", "text/html"))
	}
	require.Contains(t, come("max@acme.test").Text("body"), "Max", "a member just comes in")
	require.Contains(t, come("gus@globex.test").Text(".flash"), "sent to another e-mail address")
	require.Contains(t, come("gia@globex.test").Text(".menu-who"), "reviewer in Acme")
	require.Contains(t, s.Page(ada, "/admin/members").Text(".members-table"), "Gia")
	require.Contains(t, s.Page(ada, "/admin/members").Text("main"), "Nobody is invited at the moment.")
	s.Post(ada, "/admin/members/"+string(s.Scope("acme", "gia@globex.test").User)+"/remove", nil)
	require.Contains(t, come("gia@globex.test").Text(".flash"), "This invitation was used")

	a = s.Post(ada, "/admin/members", url.Values{"email": {"new@acme.test"}, "role": {"member"}})
	token = strings.TrimPrefix(s.PageOf(a).Text(".card-good [data-copy-text]"), s.URL()+"/auth/login?invitation=")
	form := s.PageOf(a).Find(`.admin-section form`)
	a = s.Post(ada, form.AttrOr("action", ""), nil)
	require.Contains(t, s.PageOf(a).Text(".flash"), "The invitation was withdrawn.")
	require.Contains(t, come("gia@globex.test").Text(".flash"), "withdrawn")

	a = s.Post(ada, "/admin/members", url.Values{"email": {"nobody"}, "role": {"owner"}})
	require.Equal(t, http.StatusUnprocessableEntity, a.Status)
	p = s.PageOf(a)
	require.Equal(t, "nobody", p.Find("#invite-email").AttrOr("value", ""), "as it was typed")
	require.Equal(t, "Must be an e-mail address.", p.Text("#invite-email-error"))
	require.Equal(t, "Must be a role that is not above your own.", p.Text("#invite-role-error"))
	require.Equal(t, http.StatusForbidden, s.Post(s.SignIn("mia@acme.test"), "/admin/members", url.Values{"email": {"x@acme.test"}, "role": {"member"}}).Status)
}

// letterbox keeps what a mail server would get.
type letterbox struct {
	letters chan string
	full    bool
}

func (l *letterbox) MailInvitation(_ context.Context, _ auth.Scope, i auth.Invitation, link string) error {
	if l.full {
		return errors.New("the mail server is away")
	}
	l.letters <- i.Email + " " + i.Inviter + " " + i.Org.Name + " " + link
	return nil
}

func TestAnInvitationIsMailedWhereThatIsSetUp(t *testing.T) {
	t.Parallel()
	box := &letterbox{letters: make(chan string, 1)}
	s := testweb.Start(t, testweb.Options{Mailer: box})
	ada := s.SignIn("ada@acme.test")
	a := s.Post(ada, "/admin/members", url.Values{"email": {"new@acme.test"}, "role": {"member"}})
	require.Contains(t, s.PageOf(a).Text(".card-good"), "The link was mailed to them;")
	require.Equal(t, "new@acme.test Ada Acme "+s.PageOf(a).Text("[data-copy-text]"), <-box.letters)
	box.full = true
	a = s.Post(ada, "/admin/members", url.Values{"email": {"new@acme.test"}, "role": {"member"}})
	require.Equal(t, http.StatusCreated, a.Status, "the invitation stands")
	require.Contains(t, s.PageOf(a).Text(".card-good"), "The mail could not be sent.")
}

func TestEverybodysKeysAreFoundAndEnded(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada, key := s.SignIn("ada@acme.test"), s.Key("acme", "max@acme.test")
	s.Key("acme", "mia@acme.test", auth.ScopeRun)
	s.Key("globex", "gus@globex.test")
	p := s.Page(ada, "/admin/keys")
	require.Equal(t, "2 keys", p.Text(".filters-found"))
	require.NotContains(t, p.Text("main"), "Gus")
	require.NotContains(t, p.Text("main"), key, "the secret is nowhere")
	p = s.Page(ada, "/admin/keys?person=max%40")
	require.Equal(t, 1, p.Find("tbody tr").Length())
	require.Contains(t, p.Text("tbody"), key[:len("hdl_")+12])
	require.Contains(t, p.Text("tbody"), "max@acme.test")
	program := s.DialKey(key)
	a := s.Post(ada, p.Find("tbody form").AttrOr("action", ""), url.Values{"person": {p.Find("tbody [name=person]").AttrOr("value", "")}})
	require.Contains(t, s.PageOf(a).Text(".flash"), "The key was revoked.")
	require.Contains(t, s.PageOf(a).Text("main"), "No key found", "the filter is kept")
	_, reason := program.Closed()
	require.Equal(t, "the API key was revoked", reason)
	require.Equal(t, http.StatusUnprocessableEntity, s.Get(ada, "/admin/keys?person="+strings.Repeat("x", 201), "Accept", "text/html").Status)
	status, _, message := post(t, s, s.SignIn("mia@acme.test"), "/admin/keys/"+id.New()+"/revoke", url.Values{})
	require.Equal(t, http.StatusForbidden, status)
	require.Equal(t, "Your role member does not include keys.manage_any.", message)
}

func TestOwnersNameTheOrganisationAndItsRules(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	olga, scope := s.SignIn("olga@acme.test"), s.Scope("acme", "olga@acme.test")
	p := s.Page(olga, "/admin/organisation")
	require.Equal(t, "Acme", p.Find("#org-name").AttrOr("value", ""))
	require.Equal(t, "on", p.Find("[name=four_eyes][checked]").AttrOr("value", ""), "on unless switched off")
	a := s.Post(olga, "/admin/organisation", url.Values{"four_eyes": {"off"}})
	require.Equal(t, "off", s.PageOf(a).Find("[name=four_eyes][checked]").AttrOr("value", ""))
	settings, err := s.App.Database().OrgSettings(t.Context(), scope)
	require.NoError(t, err)
	require.False(t, settings.RequiresFourEyes())
	a = s.Post(olga, "/admin/organisation", url.Values{"name": {" Acme  Ltd "}})
	require.Contains(t, s.PageOf(a).Text(".flash"), "The name was saved.")
	require.Contains(t, s.Page(olga, "/").Text(".menu-who"), "owner in Acme Ltd")
	require.Equal(t, scope, s.Scope("acme", "olga@acme.test"), "the short name stays")
	for form, words := range map[string]string{"name=": "Must have 1 to 80 characters.", "four_eyes=maybe": "Must be on or off.", "x=y": "Must be on or off."} {
		values, err := url.ParseQuery(form)
		require.NoError(t, err)
		a = s.Post(olga, "/admin/organisation", values)
		require.Equal(t, http.StatusUnprocessableEntity, a.Status, form)
		require.Contains(t, s.PageOf(a).Text(".field-error"), words)
	}
	require.Equal(t, http.StatusForbidden, s.Post(s.SignIn("ada@acme.test"), "/admin/organisation", url.Values{"name": {"x"}}).Status)
}
