package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/markbates/goth/providers/openidConnect"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
)

const (
	// discoveryTries and discoveryPause pace the look-up of a provider that
	// may just be starting, such as the development one in our own process.
	discoveryTries = 3
	discoveryPause = 300 * time.Millisecond
	// discoveryFresh is how long a found configuration is used.
	discoveryFresh = 24 * time.Hour
)

// signingAlgs are the algorithms an id_token may be signed with: asymmetric
// ones only, so that nobody can sign with a key that is public.
var signingAlgs = []string{oidc.RS256, oidc.ES256, oidc.EdDSA}

// openID signs in with an OpenID Connect provider.
type openID struct {
	conf     Provider
	callback string
	client   *http.Client
	clock    clock.Clock
	// turn is held by whoever reads or replaces found; a channel rather than a
	// mutex, so that waiting for a slow discovery ends with the waiter's context.
	turn  chan struct{}
	found *discovered
}

// discovered is a provider's configuration; it is never changed once made.
type discovered struct {
	at     time.Time
	oidc   *oidc.Provider
	verify *oidc.IDTokenVerifier
	goth   openidConnect.Provider
	// sendsIssuer means that callbacks must carry iss (RFC 9207).
	sendsIssuer bool
}

func newOpenID(p Provider, callback string, client *http.Client, clk clock.Clock) *openID {
	return &openID{conf: p, callback: callback, client: client, clock: clk, turn: make(chan struct{}, 1)}
}

func (o *openID) authURL(ctx context.Context, a authRequest) (string, error) {
	d, err := o.discover(ctx)
	if err != nil {
		return "", err
	}
	session, err := d.goth.BeginAuth(a.state)
	if err != nil {
		return "", fmt.Errorf("writing the authorisation URL: %w", err)
	}
	raw, err := session.GetAuthURL()
	if err != nil {
		return "", fmt.Errorf("writing the authorisation URL: %w", err)
	}
	return withParams(raw, map[string]string{
		"nonce": a.nonce, "code_challenge": a.challenge, "code_challenge_method": "S256",
		"login_hint": a.loginHint,
	})
}

func (o *openID) profile(ctx context.Context, g grant) (auth.Profile, error) {
	d, err := o.discover(ctx)
	if err != nil {
		return auth.Profile{}, err
	}
	if g.issuer != o.conf.Issuer && (g.issuer != "" || d.sendsIssuer) {
		return auth.Profile{}, &distrust{fmt.Errorf("callback names issuer %q", cut(g.issuer, 200))}
	}
	session, err := o.exchange(ctx, d, g)
	if err != nil {
		return auth.Profile{}, err
	}
	c, err := o.verified(ctx, d, session.IDToken, g.nonce)
	if err != nil {
		return auth.Profile{}, &distrust{err}
	}
	if c.Email == "" && d.oidc.UserInfoEndpoint() != "" {
		if err := o.addUserInfo(ctx, d, session.AccessToken, &c); err != nil {
			return auth.Profile{}, err
		}
	}
	return auth.Profile{
		// The configured issuer rather than the token's: Google writes its own
		// in two ways.
		Identity:      auth.Identity{Issuer: o.conf.Issuer, Subject: c.Subject},
		Email:         c.Email,
		EmailVerified: bool(c.EmailVerified),
		Name:          c.displayName(),
	}, nil
}

// exchange trades the code for tokens. goth asserts the type of id_token
// without looking, so that an answer where it is no text panics.
func (o *openID) exchange(ctx context.Context, d *discovered, g grant) (s openidConnect.Session, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &distrust{errors.New("exchanging the code: malformed answer")}
		}
	}()
	// A copy per call: goth takes the client, and with it the deadline, from
	// the provider.
	p := d.goth
	p.HTTPClient = within(ctx, o.client)
	if _, err := s.Authorize(&p, g); err != nil {
		return s, exchangeError(err)
	}
	return s, nil
}

// claims are the parts of an id_token that are used.
type claims struct {
	Subject           string    `json:"sub"`
	AuthorizedParty   *string   `json:"azp"`
	Email             string    `json:"email"`
	EmailVerified     looseBool `json:"email_verified"`
	Name              string    `json:"name"`
	PreferredUsername string    `json:"preferred_username"`
}

func (c claims) displayName() string {
	if c.Name != "" {
		return c.Name
	}
	return c.PreferredUsername
}

// looseBool reads true and "true": some providers quote it. All else is false.
type looseBool bool

func (b *looseBool) UnmarshalJSON(data []byte) error {
	*b = string(data) == "true" || string(data) == `"true"`
	return nil
}

// verified checks an id_token by OpenID Connect Core 1.0 section 3.1.3.7.
func (o *openID) verified(ctx context.Context, d *discovered, raw, nonce string) (claims, error) {
	if raw == "" {
		return claims{}, errors.New("the answer holds no id_token")
	}
	token, err := d.verify.Verify(ctx, raw)
	if err != nil {
		return claims{}, fmt.Errorf("verifying the id_token: %w", err)
	}
	if nonce == "" || !auth.Token(token.Nonce).Digest().Equal(auth.Token(nonce).Digest()) {
		return claims{}, errors.New("verifying the id_token: foreign nonce")
	}
	var c claims
	if err := token.Claims(&c); err != nil {
		return claims{}, fmt.Errorf("reading the id_token: %w", err)
	}
	switch {
	case c.AuthorizedParty != nil && *c.AuthorizedParty != o.conf.ClientID:
		return claims{}, errors.New("verifying the id_token: authorised for another client")
	case c.AuthorizedParty == nil && len(token.Audience) > 1:
		return claims{}, errors.New("verifying the id_token: several audiences and no authorised party")
	case c.Subject == "" || len(c.Subject) > 255:
		return claims{}, errors.New("verifying the id_token: no subject of 1 to 255 characters")
	}
	return c, nil
}

// addUserInfo asks for the e-mail address when the id_token has none.
func (o *openID) addUserInfo(ctx context.Context, d *discovered, accessToken string, c *claims) error {
	info, err := d.oidc.UserInfo(oidc.ClientContext(ctx, o.client), tokenSource(accessToken))
	if err != nil {
		return fmt.Errorf("asking for user info: %w", withoutQuery(err))
	}
	if info.Subject != c.Subject {
		return &distrust{errors.New("user info is about somebody else")}
	}
	var more claims
	if err := info.Claims(&more); err != nil {
		return fmt.Errorf("reading user info: %w", err)
	}
	c.Email, c.EmailVerified = more.Email, more.EmailVerified
	if c.displayName() == "" {
		c.Name = more.displayName()
	}
	return nil
}

// discover gives the provider's configuration, from the network if it has
// none or an old one. A configuration that is merely old outlives a failure.
func (o *openID) discover(ctx context.Context) (*discovered, error) {
	select {
	case o.turn <- struct{}{}:
		defer func() { <-o.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for discovery: %w", ctx.Err())
	}
	now := o.clock.Now()
	if o.found != nil && now.Sub(o.found.at) < discoveryFresh {
		return o.found, nil
	}
	var last error
	for try := range discoveryTries {
		if try > 0 {
			select {
			case <-o.clock.After(discoveryPause):
			case <-ctx.Done():
				return nil, fmt.Errorf("discovering %s: %w", o.conf.Issuer, ctx.Err())
			}
		}
		d, err := o.fetch(ctx)
		if err == nil {
			d.at = now
			o.found = d
			return d, nil
		}
		last = err
	}
	if o.found != nil {
		return o.found, nil
	}
	return nil, fmt.Errorf("discovering %s: %w", o.conf.Issuer, last)
}

func (o *openID) fetch(ctx context.Context) (*discovered, error) {
	p, err := oidc.NewProvider(oidc.ClientContext(ctx, o.client), o.conf.Issuer)
	if err != nil {
		// The library quotes the whole answer.
		return nil, errors.New(cut(withoutQuery(err).Error(), 300))
	}
	var more struct {
		JWKS        string `json:"jwks_uri"`
		SendsIssuer bool   `json:"authorization_response_iss_parameter_supported"`
	}
	if err := p.Claims(&more); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	ep := p.Endpoint()
	for _, raw := range []string{ep.AuthURL, ep.TokenURL, more.JWKS} {
		if err := o.checkEndpoint(raw); err != nil {
			return nil, err
		}
	}
	g, err := openidConnect.NewCustomisedURL(o.conf.ClientID, o.conf.ClientSecret, o.callback,
		ep.AuthURL, ep.TokenURL, o.conf.Issuer, p.UserInfoEndpoint(), "", "openid", "email", "profile")
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return &discovered{
		oidc: p,
		verify: p.Verifier(&oidc.Config{
			ClientID: o.conf.ClientID, SupportedSigningAlgs: signingAlgs, Now: o.clock.Now,
		}),
		goth:        *g,
		sendsIssuer: more.SendsIssuer,
	}, nil
}

// checkEndpoint lets no endpoint be less protected than the issuer itself.
func (o *openID) checkEndpoint(raw string) error {
	u, err := url.Parse(raw)
	issuer, ierr := url.Parse(o.conf.Issuer)
	if err != nil || ierr != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != issuer.Scheme) {
		return fmt.Errorf("endpoint %q is not an https URL", cut(raw, 200))
	}
	return nil
}
