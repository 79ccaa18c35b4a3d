package oauth

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
)

func TestAGoodCallbackYieldsTheVerifiedProfile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	link := auth.NewToken()
	redirect, cookie, err := b.flow.Begin(context.Background(), "idp",
		Start{ReturnTo: "/threads?x=1", LoginHint: "ada@acme.test", Invitation: link})
	require.NoError(t, err)
	require.Contains(t, redirect, "login_hint=ada%40acme.test")
	got, err := b.flow.Finish(context.Background(), "idp", b.idp.authorize(t, redirect), cookie)
	require.NoError(t, err)
	digest := link.Digest()
	require.Empty(t, cmp.Diff(Finished{
		Profile: auth.Profile{
			Identity: auth.Identity{Issuer: b.idp.server.URL, Subject: "person-1"}, Provider: "idp",
			Email: "Ada@acme.test", EmailVerified: true, Name: "Ada",
		},
		ReturnTo: "/threads?x=1", Invitation: &digest,
	}, got))
	require.Empty(t, b.store.rows)
}

func TestCallbackIsRefusedUnlessItEndsThisBrowsersAttempt(t *testing.T) {
	t.Parallel()
	set := func(name string, values ...string) func(*testing.T, bundle, url.Values, *string, *string) {
		return func(_ *testing.T, _ bundle, q url.Values, _, _ *string) {
			q.Del(name)
			if values != nil {
				q[name] = values
			}
		}
	}
	for name, bend := range map[string]func(t *testing.T, b bundle, q url.Values, cookie, provider *string){
		"missing state":  set("state"),
		"empty state":    set("state", ""),
		"unknown state":  set("state", auth.NewToken().Reveal()),
		"two states":     func(_ *testing.T, _ bundle, q url.Values, _, _ *string) { q.Add("state", q.Get("state")) },
		"missing code":   set("code"),
		"empty code":     set("code", ""),
		"two codes":      set("code", "a", "b"),
		"missing cookie": func(_ *testing.T, _ bundle, _ url.Values, c, _ *string) { *c = "" },
		"chosen cookie":  func(_ *testing.T, _ bundle, _ url.Values, c, _ *string) { *c = "chosen" },
		"cookie of another browser": func(t *testing.T, b bundle, _ url.Values, c, _ *string) {
			_, *c = b.begin(t)
		},
		"state of another browser": func(t *testing.T, b bundle, q url.Values, _, _ *string) {
			other, _ := b.begin(t)
			q.Set("state", other.Get("state"))
		},
		"another provider": func(_ *testing.T, _ bundle, _ url.Values, _, p *string) { *p = "twin" },
		"ten minutes later": func(_ *testing.T, b bundle, _ url.Values, _, _ *string) {
			b.clock.Advance(AttemptLifetime)
		},
		"nothing at all": func(_ *testing.T, _ bundle, q url.Values, c, _ *string) {
			clear(q)
			*c = ""
		},
		"a used state with an empty cookie": func(t *testing.T, b bundle, q url.Values, c, _ *string) {
			_, err := b.flow.Finish(context.Background(), "idp", q, *c)
			require.NoError(t, err)
			*c = ""
		},
		"a replay": func(t *testing.T, b bundle, q url.Values, c, _ *string) {
			_, err := b.flow.Finish(context.Background(), "idp", q, *c)
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			q, cookie := b.begin(t)
			provider := "idp"
			bend(t, b, q, &cookie, &provider)
			exchanges := len(b.idp.tokenForms)
			got, err := b.flow.Finish(context.Background(), provider, q, cookie)
			require.Equal(t, fault.KindForbidden, fault.KindOf(err))
			require.Equal(t, CodeAttempt, fault.Code(err), "all refusals look the same")
			require.Equal(t, Finished{}, got)
			require.Len(t, b.idp.tokenForms, exchanges, "no code was exchanged")
		})
	}
}

func TestARefusedCallbackUsesUpItsAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	q, cookie := b.begin(t)
	_, err := b.flow.Finish(context.Background(), "idp", q, "wrong")
	require.Equal(t, CodeAttempt, fault.Code(err))
	_, err = b.flow.Finish(context.Background(), "idp", q, cookie)
	require.Equal(t, CodeAttempt, fault.Code(err))
}

func TestOfParallelCallbacksOneWins(t *testing.T) {
	t.Parallel()
	b := setup(t)
	q, cookie := b.begin(t)
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := b.flow.Finish(context.Background(), "idp", q, cookie); err == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, won.Load())
}

func TestTheTokenRequestCarriesNothingOfTheCallbackButTheCode(t *testing.T) {
	t.Parallel()
	b := setup(t)
	q, cookie := b.begin(t)
	q.Set("redirect_uri", "https://evil.test/")
	q.Set("code_verifier", "chosen")
	q.Set("client_id", "evil")
	q.Set("provider", "twin")
	_, err := b.flow.Finish(context.Background(), "idp", q, cookie)
	require.NoError(t, err)
	require.Len(t, b.idp.tokenForms, 1)
	form := b.idp.tokenForms[0]
	require.Equal(t, []string{"http://localhost:8080/auth/idp/callback"}, form["redirect_uri"])
	require.Len(t, form.Get("code_verifier"), 43)
	for name := range form {
		require.Contains(t, []string{"grant_type", "code", "redirect_uri", "code_verifier"}, name)
	}
}

func TestForgedIDTokensAreRefused(t *testing.T) {
	t.Parallel()
	claim := func(name string, value any) func(*bundle) {
		return func(b *bundle) { b.idp.claims = func(c map[string]any) { c[name] = value } }
	}
	forge := func(f func(idp *fakeIDP, claims map[string]any) string) func(*bundle) {
		return func(b *bundle) { b.idp.forge = func(c map[string]any) string { return f(b.idp, c) } }
	}
	for name, lie := range map[string]func(*bundle){
		"wrong issuer":                 claim("iss", "https://evil.test"),
		"no issuer":                    claim("iss", nil),
		"wrong audience":               claim("aud", "client-2"),
		"no audience":                  claim("aud", nil),
		"audiences without us":         claim("aud", []string{"client-2", "client-3"}),
		"several audiences and no azp": claim("aud", []string{"client-1", "client-2"}),
		"foreign azp":                  claim("azp", "client-2"),
		"empty azp":                    claim("azp", ""),
		"wrong nonce":                  claim("nonce", "chosen"),
		"no nonce":                     claim("nonce", nil),
		"empty nonce":                  claim("nonce", ""),
		"no subject":                   claim("sub", nil),
		"empty subject":                claim("sub", ""),
		"endless subject":              claim("sub", strings.Repeat("x", 256)),
		"expired":                      func(b *bundle) { b.idp.claims = func(c map[string]any) { c["exp"] = b.clock.Now().Unix() - 1 } },
		"no expiry":                    claim("exp", nil),
		"not valid yet":                func(b *bundle) { b.idp.claims = func(c map[string]any) { c["nbf"] = b.clock.Now().Unix() + 3600 } },
		"no token":                     forge(func(*fakeIDP, map[string]any) string { return "" }),
		"garbage":                      forge(func(*fakeIDP, map[string]any) string { return "a.b.c" }),
		"key unknown, its id known":    forge(func(_ *fakeIDP, c map[string]any) string { return signWith(jose.RS256, strangerKey(), "k1", c) }),
		"key id unknown":               forge(func(_ *fakeIDP, c map[string]any) string { return signWith(jose.RS256, strangerKey(), "k2", c) }),
		"HS256 with the public key":    forge(func(i *fakeIDP, c map[string]any) string { return signWith(jose.HS256, publicPEM(i.key), "k1", c) }),
		"HS256 with the modulus":       forge(func(i *fakeIDP, c map[string]any) string { return signWith(jose.HS256, i.key.N.Bytes(), "k1", c) }),
		"HS256 with the client secret": forge(func(_ *fakeIDP, c map[string]any) string {
			return signWith(jose.HS256, []byte(strings.Repeat("secret-1", 4)), "k1", c)
		}),
		"RS512, which we do not list": forge(func(i *fakeIDP, c map[string]any) string { return signWith(jose.RS512, i.key, "k1", c) }),
		"alg none":                    forge(func(_ *fakeIDP, c map[string]any) string { return unsigned("none", c) + "." }),
		"alg nOnE":                    forge(func(_ *fakeIDP, c map[string]any) string { return unsigned("nOnE", c) + "." }),
		"alg none over a true signature": forge(func(i *fakeIDP, c map[string]any) string {
			s := signWith(jose.RS256, i.key, "k1", c)
			return unsigned("none", c) + s[strings.LastIndex(s, "."):]
		}),
		"signature cut off": forge(func(i *fakeIDP, c map[string]any) string {
			s := signWith(jose.RS256, i.key, "k1", c)
			return s[:strings.LastIndex(s, ".")+1]
		}),
		"signature of other claims": forge(func(i *fakeIDP, c map[string]any) string {
			s := signWith(jose.RS256, i.key, "k1", c)
			c["sub"] = "person-2"
			return unsigned("RS256", c) + s[strings.LastIndex(s, "."):]
		}),
		"id_token that is no text":   func(b *bundle) { b.idp.answer = answer(`{"access_token":"a","token_type":"Bearer","id_token":5}`) },
		"answer without an id_token": func(b *bundle) { b.idp.answer = answer(`{"access_token":"a","token_type":"Bearer"}`) },
		"user info about somebody else": func(b *bundle) {
			claim("email", nil)(b)
			b.idp.userInfo = map[string]any{"sub": "person-2", "email": "b@acme.test", "email_verified": true}
		},
		"callback of another issuer": nil,
		"iss promised by config and absent": func(b *bundle) {
			b.idp.config = func(d map[string]any) { d["authorization_response_iss_parameter_supported"] = true }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			if lie != nil {
				lie(&b)
			}
			q, cookie := b.begin(t)
			if lie == nil {
				q.Set("iss", "https://evil.test")
			}
			got, err := b.flow.Finish(context.Background(), "idp", q, cookie)
			require.Equal(t, fault.KindForbidden, fault.KindOf(err), "%v", err)
			require.Equal(t, CodeDenied, fault.Code(err), "%v", err)
			require.Equal(t, Finished{}, got)
		})
	}
}

func TestTrueIDTokensOfEveryListedShapeAreAccepted(t *testing.T) {
	t.Parallel()
	for name, say := range map[string]func(map[string]any){
		"audience list of one":      func(c map[string]any) { c["aud"] = []string{"client-1"} },
		"several audiences and azp": func(c map[string]any) { c["aud"] = []string{"client-1", "x"}; c["azp"] = "client-1" },
		"quoted email_verified":     func(c map[string]any) { c["email_verified"] = "true" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.idp.claims = say
			q, cookie := b.begin(t)
			got, err := b.flow.Finish(context.Background(), "idp", q, cookie)
			require.NoError(t, err)
			require.Equal(t, "Ada@acme.test", got.Profile.VerifiedEmail())
		})
	}
}

func TestAnEmailIsAFactOnlyWhenVerified(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		verified any
		email    any
		info     map[string]any
		want     string
	}{
		"false":                     {false, "ada@acme.test", nil, ""},
		"absent":                    {nil, "ada@acme.test", nil, ""},
		"a number":                  {1, "ada@acme.test", nil, ""},
		"some text":                 {"yes", "ada@acme.test", nil, ""},
		"true of no address":        {true, "not an address", nil, ""},
		"user info verified":        {nil, nil, map[string]any{"sub": "person-1", "email": "ada@acme.test", "email_verified": true}, "ada@acme.test"},
		"user info not verified":    {nil, nil, map[string]any{"sub": "person-1", "email": "ada@acme.test"}, ""},
		"token true, user info not": {true, nil, map[string]any{"sub": "person-1", "email": "ada@acme.test"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.idp.userInfo = c.info
			b.idp.claims = func(m map[string]any) { m["email_verified"], m["email"] = c.verified, c.email }
			q, cookie := b.begin(t)
			got, err := b.flow.Finish(context.Background(), "idp", q, cookie)
			require.NoError(t, err)
			require.Equal(t, c.want, got.Profile.VerifiedEmail())
		})
	}
}

func TestTheProvidersNoIsToldKindlyAndUsesUpTheAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	q, cookie := b.begin(t)
	q.Del("code")
	q.Set("error", "access_denied")
	q.Set("error_description", "<script>alert(1)</script>")
	_, err := b.flow.Finish(context.Background(), "idp", q, cookie)
	require.Equal(t, CodeDenied, fault.Code(err))
	require.NotContains(t, fault.Public(err), "script")
	require.Empty(t, b.store.rows)
}

func TestAnUnreachableProviderIsUnavailableAndLeaksNothing(t *testing.T) {
	t.Parallel()
	for name, say := range map[string]func(http.ResponseWriter){
		"error":    func(w http.ResponseWriter) { w.WriteHeader(500); fmt.Fprint(w, "canary-answer") },
		"redirect": func(w http.ResponseWriter) { w.Header().Set("Location", "http://127.0.0.1:1/"); w.WriteHeader(307) },
		"not json": answer("<html>canary-answer"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.idp.answer = say
			q, cookie := b.begin(t)
			_, err := b.flow.Finish(context.Background(), "idp", q, cookie)
			require.Equal(t, fault.KindUnavailable, fault.KindOf(err))
			for _, secret := range []string{q.Get("code"), q.Get("state"), "secret-1", "canary-answer", "access-1"} {
				require.NotContains(t, err.Error(), secret)
			}
		})
	}
}

func TestDiscoveryIsLazyRetriedAndKept(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Zero(t, b.idp.discovered, "New makes no call")
	b.idp.down = discoveryTries
	flow, err := New(Options{BaseURL: "http://localhost:8080", Attempts: b.store, Clock: clock.System{}, Providers: []Provider{
		{Name: "idp", Kind: KindOIDC, ClientID: "client-1", ClientSecret: "secret-1", Issuer: b.idp.server.URL}}})
	require.NoError(t, err)
	_, _, err = flow.Begin(context.Background(), "idp", Start{})
	require.Equal(t, fault.KindUnavailable, fault.KindOf(err))
	require.Equal(t, discoveryTries, b.idp.discovered)
	require.Empty(t, b.store.rows)
	b.idp.down = discoveryTries - 1
	for range 3 {
		_, _, err = flow.Begin(context.Background(), "idp", Start{})
		require.NoError(t, err, "a provider that comes up late is found")
	}
	require.Equal(t, 2*discoveryTries, b.idp.discovered, "found once, it is not asked again")

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, err = b.flow.Begin(ctx, "idp", Start{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestDiscoveryRefusesAForeignIssuerAndBareEndpoints(t *testing.T) {
	t.Parallel()
	clk := clock.System{}
	for name, bend := range map[string]func(map[string]any){
		"foreign issuer": func(d map[string]any) { d["issuer"] = "https://evil.test" },
		"file endpoint":  func(d map[string]any) { d["token_endpoint"] = "file:///etc/passwd" },
		"no key set":     func(d map[string]any) { delete(d, "jwks_uri") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			idp := newFakeIDP(t, clk)
			idp.config = bend
			flow, err := New(Options{BaseURL: "http://localhost", Attempts: &attempts{}, Clock: clk, Providers: []Provider{
				{Name: "idp", Kind: KindOIDC, ClientID: "c", Issuer: idp.server.URL}}})
			require.NoError(t, err)
			_, _, err = flow.Begin(context.Background(), "idp", Start{})
			require.Equal(t, fault.KindUnavailable, fault.KindOf(err))
		})
	}
}

func TestTheLoginCookieIsBoundToTheHost(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"https://heddle.test":   "__Host-heddle_login=v; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax",
		"http://localhost:8080": "heddle_login=v; Path=/; Max-Age=600; HttpOnly; SameSite=Lax",
	} {
		flow, err := New(Options{BaseURL: base, Attempts: &attempts{}, Clock: clock.System{}})
		require.NoError(t, err)
		require.Equal(t, want, flow.Cookie("v").String())
		require.Equal(t, strings.NewReplacer("=v", "=", "600", "0").Replace(want), flow.Cookie("").String())
	}
}

func TestNewNamesTheWrongOption(t *testing.T) {
	t.Parallel()
	good := Provider{Name: "idp", Kind: KindOIDC, ClientID: "c", Issuer: "https://id.test"}
	bend := func(f func(*Provider)) Provider { p := good; f(&p); return p }
	for want, o := range map[string]Options{
		"base URL":      {BaseURL: "localhost:8080"},
		"provider name": {BaseURL: "http://x", Providers: []Provider{bend(func(p *Provider) { p.Name = "a/b" })}},
		"not login":     {BaseURL: "http://x", Providers: []Provider{bend(func(p *Provider) { p.Name = "login" })}},
		"client id":     {BaseURL: "http://x", Providers: []Provider{bend(func(p *Provider) { p.ClientID = "" })}},
		"issuer":        {BaseURL: "http://x", Providers: []Provider{bend(func(p *Provider) { p.Issuer = "id.test" })}},
		"kind":          {BaseURL: "http://x", Providers: []Provider{bend(func(p *Provider) { p.Kind = "saml" })}},
		"twice":         {BaseURL: "http://x", Providers: []Provider{good, good}},
	} {
		o.Attempts, o.Clock = &attempts{}, clock.System{}
		_, err := New(o)
		require.ErrorContains(t, err, want)
	}
	flow, err := New(Options{BaseURL: "http://x", Attempts: &attempts{}, Clock: clock.System{},
		Providers: []Provider{bend(func(p *Provider) { p.ClientSecret = "s" })}})
	require.NoError(t, err)
	require.Empty(t, flow.Providers()[0].ClientSecret)
	_, _, err = flow.Begin(context.Background(), "nobody", Start{})
	require.Equal(t, fault.KindNotFound, fault.KindOf(err))
	_, err = flow.Finish(context.Background(), "nobody", nil, "")
	require.Equal(t, fault.KindNotFound, fault.KindOf(err))
}
