package oauth

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/markbates/goth/providers/github"
	"golang.org/x/oauth2"

	"github.com/heddle/heddle/auth"
)

// GitHubEndpoints are where GitHub listens. Empty fields mean github.com.
type GitHubEndpoints struct {
	// Issuer becomes the issuer of the identity: GitHub has no OpenID issuer,
	// so its address stands for it.
	Issuer           string
	Authorize, Token string
	User, Emails     string
}

func (e GitHubEndpoints) orDefault() GitHubEndpoints {
	pick := func(value, otherwise string) string {
		if value != "" {
			return value
		}
		return otherwise
	}
	return GitHubEndpoints{
		Issuer:    pick(e.Issuer, "https://github.com"),
		Authorize: pick(e.Authorize, github.AuthURL),
		Token:     pick(e.Token, github.TokenURL),
		User:      pick(e.User, github.ProfileURL),
		Emails:    pick(e.Emails, github.EmailURL),
	}
}

// gitHub signs in with GitHub. goth's provider writes the authorisation URL;
// exchange and profile are ours, because goth's drop the PKCE verifier and
// take the public e-mail address of a profile for a verified one.
type gitHub struct {
	at     GitHubEndpoints
	goth   *github.Provider
	oauth  oauth2.Config
	client *http.Client
}

func newGitHub(p Provider, callback string, client *http.Client) *gitHub {
	at := p.GitHub.orDefault()
	return &gitHub{
		at: at,
		goth: github.NewCustomisedURL(p.ClientID, p.ClientSecret, callback,
			at.Authorize, at.Token, at.User, at.Emails, "read:user", "user:email"),
		oauth: oauth2.Config{ClientID: p.ClientID, ClientSecret: p.ClientSecret, RedirectURL: callback,
			Endpoint: oauth2.Endpoint{AuthURL: at.Authorize, TokenURL: at.Token, AuthStyle: oauth2.AuthStyleInParams}},
		client: client,
	}
}

func (g *gitHub) authURL(_ context.Context, a authRequest) (string, error) {
	session, err := g.goth.BeginAuth(a.state)
	if err != nil {
		return "", fmt.Errorf("writing the authorisation URL: %w", err)
	}
	raw, err := session.GetAuthURL()
	if err != nil {
		return "", fmt.Errorf("writing the authorisation URL: %w", err)
	}
	return withParams(raw, map[string]string{
		"redirect_uri": g.oauth.RedirectURL, "response_type": "code",
		"code_challenge": a.challenge, "code_challenge_method": "S256",
	})
}

func (g *gitHub) profile(ctx context.Context, grant grant) (auth.Profile, error) {
	token, err := g.oauth.Exchange(context.WithValue(ctx, oauth2.HTTPClient, g.client),
		grant.code, oauth2.VerifierOption(grant.verifier))
	if err != nil {
		return auth.Profile{}, exchangeError(err)
	}
	var user struct {
		ID    int64  `json:"id"`
		Login string `json:"login"`
		Name  string `json:"name"`
	}
	if err := g.get(ctx, g.at.User, token.AccessToken, &user); err != nil {
		return auth.Profile{}, fmt.Errorf("asking GitHub for the profile: %w", err)
	}
	if user.ID <= 0 {
		return auth.Profile{}, &distrust{fmt.Errorf("GitHub's profile has id %d", user.ID)}
	}
	var emails []struct {
		Email    string `json:"email"`
		Primary  bool   `json:"primary"`
		Verified bool   `json:"verified"`
	}
	if err := g.get(ctx, g.at.Emails, token.AccessToken, &emails); err != nil {
		return auth.Profile{}, fmt.Errorf("asking GitHub for e-mail addresses: %w", err)
	}
	p := auth.Profile{
		Identity: auth.Identity{Issuer: g.at.Issuer, Subject: strconv.FormatInt(user.ID, 10)},
		Name:     user.Name,
	}
	if p.Name == "" {
		p.Name = user.Login
	}
	for _, e := range emails {
		if e.Primary && e.Verified {
			p.Email, p.EmailVerified = e.Email, true
		}
	}
	return p, nil
}

func (g *gitHub) get(ctx context.Context, url, token string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("writing the request: %w", err)
	}
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := g.client.Do(req)
	if err != nil {
		return withoutQuery(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answer %d", resp.StatusCode)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}

// tokenSource lends an access token to one call of go-oidc.
func tokenSource(accessToken string) oauth2.TokenSource {
	return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: accessToken, TokenType: "Bearer"})
}
