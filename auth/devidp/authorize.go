package devidp

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/heddle/heddle/auth"
)

//go:embed people.html
var peopleHTML string

// authorize is the authorisation endpoint (OpenID Connect Core 1.0 section
// 3.1.2): with a login_hint that names a demo person it answers at once,
// otherwise it shows the people to choose from.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	// Until client and redirect URI are known good, nothing may be sent there.
	if q.Get("client_id") != p.clientID || q.Get("redirect_uri") != p.callback {
		http.Error(w, "Unknown client or redirect URI.", http.StatusBadRequest)
		return
	}
	switch {
	case q.Get("response_type") != "code":
		p.sendBack(w, r, url.Values{"error": {"unsupported_response_type"}})
		return
	case q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43:
		p.sendBack(w, r, url.Values{"error": {"invalid_request"}, "error_description": {"PKCE with S256 is required"}})
		return
	}
	person, ok := personByEmail(q.Get("login_hint"))
	if !ok {
		p.choose(w, r)
		return
	}
	// Cloned because a server that adapts fasthttp's requests to net/http lends
	// us strings of a buffer that it uses again.
	name := p.codes.put(code{
		person: person, challenge: strings.Clone(q.Get("code_challenge")), nonce: strings.Clone(q.Get("nonce")),
		at: p.clock.Now(),
	})
	p.sendBack(w, r, url.Values{"code": {name}})
}

// sendBack redirects to the client with the answer, its state and our issuer
// (RFC 9207).
func (p *Provider) sendBack(w http.ResponseWriter, r *http.Request, answer url.Values) {
	if state := r.URL.Query().Get("state"); state != "" {
		answer.Set("state", state)
	}
	answer.Set("iss", p.issuer)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, p.callback+"?"+answer.Encode(), http.StatusFound)
}

// choice is one line of the page.
type choice struct {
	Name, Email string
	Role        auth.Role
	Link        string
}

type group struct {
	Name    string
	Choices []choice
}

// choose shows the demo people by organisation. Each is a plain link back
// here with a login_hint.
func (p *Provider) choose(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	page := struct {
		Nonce   string
		Unknown string
		Groups  []group
	}{Nonce: auth.NewToken().Reveal(), Unknown: q.Get("login_hint")}
	for _, person := range People() {
		if n := len(page.Groups); n == 0 || page.Groups[n-1].Name != person.OrgName {
			page.Groups = append(page.Groups, group{Name: person.OrgName})
		}
		q.Set("login_hint", person.Email())
		last := &page.Groups[len(page.Groups)-1]
		last.Choices = append(last.Choices, choice{
			Name: person.Name, Email: person.Email(), Role: person.Role, Link: r.URL.Path + "?" + q.Encode(),
		})
	}
	var body bytes.Buffer
	if err := template.Must(template.New("people").Parse(peopleHTML)).Execute(&body, page); err != nil {
		http.Error(w, "The page could not be shown.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+page.Nonce+
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	_, _ = w.Write(body.Bytes()) // the reader may be gone
}
