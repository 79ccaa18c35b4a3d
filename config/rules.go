package config

import (
	"net"
	"net/mail"
	"net/url"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// check adds every rule that is broken. It looks at all of them, so that one
// start shows everything there is to mend.
func (c *Config) check(ps *problems) {
	c.checkServer(ps)
	c.checkStorage(ps)
	c.checkSignIn(ps)
	c.checkModels(ps)
	c.checkMail(ps)
	c.checkWorker(ps)
	c.checkRetention(ps)
	c.checkAddr("HEDDLE_METRICS_ADDR", c.Log.MetricsAddr, ps)
	if c.Log.MetricsAddr != "" && c.Log.MetricsAddr == c.Server.Addr && !samePortIsFree(c.Server.Addr) {
		ps.add("HEDDLE_METRICS_ADDR", "is the same as HEDDLE_ADDR: give it a port of its own, or leave it empty in development")
	}
}

// strict reports whether the rules of production hold: everywhere but in
// development. Staging is where production is rehearsed.
func (c *Config) strict() bool { return !c.Server.Env.Development() }

// required adds a problem for an unset variable outside development.
func (c *Config) required(name string, set bool, why string, ps *problems) {
	if c.strict() && !set && !ps.about(name) && !ps.about(name+"_FILE") {
		ps.add(name, "is required when HEDDLE_ENV is %s: %s", c.Server.Env, why)
	}
}

func (c *Config) checkServer(ps *problems) {
	c.checkAddr("HEDDLE_ADDR", c.Server.Addr, ps)

	c.required("HEDDLE_BASE_URL", c.Server.BaseURL != "", "sign-in and links need the public https origin", ps)
	if c.Server.BaseURL != "" {
		origin, err := parseOrigin(c.Server.BaseURL)
		switch {
		case err != nil:
			ps.add("HEDDLE_BASE_URL", "%v", err)
		case c.strict() && origin[:5] != "https":
			ps.add("HEDDLE_BASE_URL", "must be https when HEDDLE_ENV is %s: cookies and sign-in are only safe there", c.Server.Env)
		default:
			c.Server.BaseURL = origin.String()
		}
	}

	c.required("HEDDLE_SECRET_KEY", c.Server.SecretKey.Set(), "none is made up here; make one with: openssl rand -base64 32", ps)
	if c.Server.SecretKey.Set() {
		if _, err := DecodeKey(c.Server.SecretKey); err != nil {
			ps.add("HEDDLE_SECRET_KEY", "%v", err)
		}
	}
	if c.strict() && c.Server.StaticDir != "" {
		ps.add("HEDDLE_STATIC_DIR", "is for development: elsewhere the assets inside the binary are served")
	}
}

// checkAddr wants host:port with a numeric port; empty is left to others.
func (c *Config) checkAddr(name, addr string, ps *problems) {
	if addr == "" {
		return
	}
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		ps.add(name, "%q is not host:port, such as :8080 or 127.0.0.1:8080", addr)
	}
}

// samePortIsFree reports whether two listeners may have the same address: only
// with port 0, which stands for any.
func samePortIsFree(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	return err == nil && port == "0"
}

func (c *Config) checkStorage(ps *problems) {
	c.required("DATABASE_URL", c.Storage.DatabaseURL.Set(), "the embedded server is for development", ps)
	if c.Storage.DatabaseURL.Set() {
		c.checkDatabaseURL(ps)
	}
	c.required("REDIS_URL", c.Storage.RedisURL.Set(), "the embedded one is for development", ps)
	if c.Storage.RedisURL.Set() {
		u, err := url.Parse(c.Storage.RedisURL.Reveal())
		if err != nil || !(u.Scheme == "unix" && u.Path != "" || (u.Scheme == "redis" || u.Scheme == "rediss") && u.Hostname() != "") {
			ps.add("REDIS_URL", "is not redis://host:port/0, rediss://host:port/0 or unix:///path/to/socket")
		}
	}
	if c.Storage.DBMinConns > c.Storage.DBMaxConns && !ps.about("HEDDLE_DB_MIN_CONNS") && !ps.about("HEDDLE_DB_MAX_CONNS") {
		ps.add("HEDDLE_DB_MIN_CONNS", "%d is more than HEDDLE_DB_MAX_CONNS, %d", c.Storage.DBMinConns, c.Storage.DBMaxConns)
	}
}

// checkDatabaseURL asks pgx itself how it would connect, so that every
// spelling counts (URL, key=value, several hosts, PGSSLMODE). An attempt
// without TLS to another machine is refused outside development, also when it
// would only come second, as with sslmode=prefer. The errors of pgx may quote
// a password and are not shown.
func (c *Config) checkDatabaseURL(ps *problems) {
	parsed, err := pgconn.ParseConfig(c.Storage.DatabaseURL.Reveal())
	if err != nil {
		ps.add("DATABASE_URL", "cannot be read as postgres://user:password@host:5432/database?sslmode=verify-full; look at the port, sslmode and the files it names")
		return
	}
	if !c.strict() {
		return
	}
	bare := func(host string, secured bool) bool {
		network, _ := pgconn.NetworkAddress(host, 5432)
		return !secured && network != "unix" && !loopback(host)
	}
	open := bare(parsed.Host, parsed.TLSConfig != nil)
	for _, next := range parsed.Fallbacks {
		open = open || bare(next.Host, next.TLSConfig != nil)
	}
	if open {
		ps.add("DATABASE_URL", "allows a connection without TLS to another machine: set sslmode to require or, better, verify-full")
	}
}

func (c *Config) checkSignIn(ps *problems) {
	s := &c.SignIn
	oidc := together(ps,
		part{"HEDDLE_OIDC_ISSUER", s.OIDCIssuer != ""},
		part{"HEDDLE_OIDC_CLIENT_ID", s.OIDCClientID != ""},
		part{"HEDDLE_OIDC_CLIENT_SECRET", s.OIDCClientSecret.Set()})
	github := together(ps,
		part{"HEDDLE_GITHUB_CLIENT_ID", s.GitHubClientID != ""},
		part{"HEDDLE_GITHUB_CLIENT_SECRET", s.GitHubClientSecret.Set()})
	google := together(ps,
		part{"HEDDLE_GOOGLE_CLIENT_ID", s.GoogleClientID != ""},
		part{"HEDDLE_GOOGLE_CLIENT_SECRET", s.GoogleClientSecret.Set()})

	if s.OIDCIssuer != "" {
		u, err := url.Parse(s.OIDCIssuer)
		switch {
		case err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http"):
			ps.add("HEDDLE_OIDC_ISSUER", "is not a URL such as https://login.example.org")
		case c.strict() && u.Scheme != "https":
			ps.add("HEDDLE_OIDC_ISSUER", "must be https when HEDDLE_ENV is %s", c.Server.Env)
		}
	}
	if c.strict() && !oidc && !github && !google {
		ps.add("HEDDLE_OIDC_ISSUER", "an identity provider is required when HEDDLE_ENV is %s: set HEDDLE_OIDC_*, HEDDLE_GITHUB_* or HEDDLE_GOOGLE_*", c.Server.Env)
	}
}

// part is one variable of several that only make sense together.
type part struct {
	name string
	set  bool
}

// together reports whether any part is set, and adds a problem for each that
// is missing then.
func together(ps *problems, parts ...part) bool {
	first := ""
	for _, p := range parts {
		if p.set && first == "" {
			first = p.name
		}
	}
	if first == "" {
		return false
	}
	for _, p := range parts {
		if !p.set && !ps.about(p.name+"_FILE") {
			ps.add(p.name, "is missing: it goes with %s", first)
		}
	}
	return true
}

func (c *Config) checkModels(ps *problems) {
	for _, v := range []struct{ name, text string }{
		{"OPENAI_BASE_URL", c.Models.OpenAIBaseURL},
		{"ANTHROPIC_BASE_URL", c.Models.AnthropicBaseURL},
	} {
		u, err := url.Parse(v.text)
		if err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			ps.add(v.name, "is not an http or https URL without user name and query")
		}
	}
}

func (c *Config) checkMail(ps *problems) {
	if c.Mail.SMTPURL.Set() {
		u, err := url.Parse(c.Mail.SMTPURL.Reveal())
		if err != nil || u.Hostname() == "" || (u.Scheme != "smtp" && u.Scheme != "smtps") {
			ps.add("HEDDLE_SMTP_URL", "is not smtp://user:password@host:587 or smtps://user:password@host:465")
		}
		if c.Mail.From == "" {
			ps.add("HEDDLE_MAIL_FROM", "is missing: it goes with HEDDLE_SMTP_URL")
		}
	}
	if c.Mail.From != "" {
		if _, err := mail.ParseAddress(c.Mail.From); err != nil {
			ps.add("HEDDLE_MAIL_FROM", "%q is not an address such as Heddle <heddle@example.org>", c.Mail.From)
		}
	}
}

// checkWorker keeps one lost renewal from losing a lease.
func (c *Config) checkWorker(ps *problems) {
	if ps.about("HEDDLE_LEASE") || ps.about("HEDDLE_LEASE_RENEW") {
		return
	}
	if c.Worker.Renew*2 > c.Worker.Lease {
		ps.add("HEDDLE_LEASE_RENEW", "%v is more than half of HEDDLE_LEASE, %v: one late renewal would lose the run", c.Worker.Renew, c.Worker.Lease)
	}
}

// checkRetention refuses a strategy by which nothing would ever go.
func (c *Config) checkRetention(ps *problems) {
	if c.Retention.Strategy != "" && c.Retention.Checkpoints == 0 && !ps.about("HEDDLE_CHECKPOINT_LIFETIME") {
		ps.add("HEDDLE_CHECKPOINT_LIFETIME", "is missing: HEDDLE_CHECKPOINT_STRATEGY is %s, and without a lifetime nothing would ever go", c.Retention.Strategy)
	}
}
