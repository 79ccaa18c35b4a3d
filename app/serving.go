package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/auth/devidp"
	"github.com/heddle/heddle/auth/oauth"
	"github.com/heddle/heddle/auth/signin"
	"github.com/heddle/heddle/config"
	"github.com/heddle/heddle/handlers"
	"github.com/heddle/heddle/handlers/api"
	"github.com/heddle/heddle/handlers/channel"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/realtime/socket"
	"github.com/heddle/heddle/static"
	"github.com/heddle/heddle/store"
	"github.com/heddle/heddle/views/markdown"
)

// bodyLimit is the most bytes of a request: 10,000 characters of four bytes,
// form-encoded three times as long, and some room for an API call's list.
const bodyLimit = 1 << 20

// serving builds what answers requests and sockets.
func (a *App) serving() error {
	cfg := a.o.Config
	assets, err := a.assets()
	if err != nil {
		return err
	}
	door, err := signin.New(signin.Options{
		Ledger: a.db, Signup: auth.SignupPolicy(cfg.SignIn.Signup), Clock: clock.System{}, Log: a.logger("auth")})
	if err != nil {
		return err
	}
	providers, idp, err := a.providers()
	if err != nil {
		return err
	}
	flow, err := oauth.New(oauth.Options{
		BaseURL: cfg.Server.BaseURL, Providers: providers, Attempts: a.db.Attempts(), Clock: clock.System{}})
	if err != nil {
		return fmt.Errorf("setting up sign-in: %w", err)
	}
	who := middleware.NewIdentity(door, auth.NewCSRF(a.o.SecretKey), cfg.Server.BaseURL)
	frame := handlers.NewFrame(who, a.db, a.db, assets, a.logger("handlers"))
	cookie := middleware.NewSessionCookie(cfg.Server.BaseURL)
	runs := a.limitedRuns()
	threads := handlers.NewThreads(frame, pageThreads{a.db, a.wire}, a.assistants, runs, markdown.New(markdown.ForMessages()))
	if err := a.socketServer(door, cookie.Name(), threads, runs); err != nil {
		return err
	}
	a.api = api.New(api.Parts{
		Threads: apiThreads{a.assistants, a.wire}, Runs: runs, Recorded: a.db,
		Streams:    streams{a.db, a.hub},
		Assistants: apiAssistants{a.assistants, pageThreads{a.db, a.wire}}, Workshop: a.workshop,
		Items: apiItems{a.db}, Webhooks: a.hooks,
		Version: a.o.Version, Logger: a.logger("handlers"),
	})
	sockets := handlers.NewSockets(a.sockets, a.logger("handlers"))
	a.health = handlers.NewHealth(a.checks()...)

	cross := crossOrigin(cfg.Network.CORSOrigins)
	a.web = fiber.New(fiber.Config{
		DisableStartupMessage: true, ErrorHandler: failing(frame, cross), BodyLimit: bodyLimit, ReadTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, ReduceMemoryUsage: true, Immutable: false, StreamRequestBody: false,
		EnableTrustedProxyCheck: true, TrustedProxies: prefixes(cfg.Network.TrustedProxies), ProxyHeader: fiber.HeaderXForwardedFor,
		ServerHeader: "", AppName: "heddle",
	})
	a.web.Use(middleware.RequestID, middleware.Headers(cfg.Server.BaseURL), middleware.Recover(a.logger("handlers")),
		middleware.ClientAddress(cfg.Network.TrustedProxies))
	handlers.Routes{
		Frame: frame, Who: who, Health: a.health, Threads: threads,
		Reviews: handlers.NewReviews(frame, threads, a.db, a.service, a.workshop, clock.System{}),
		Auth:    handlers.NewAuth(flow, door, sockets, cookie, func(p handlers.LoginPage) templ.Component { return frame.SignIn(p, demoPeople(cfg)) }, a.logger("auth")),
		Account: handlers.NewAccount(frame, a.db, sockets, cookie, clock.System{}), Keys: handlers.NewKeys(frame, a.db, sockets, clock.System{}),
		Knowledge: handlers.NewKnowledge(frame, documents{a.db}, markdown.New(markdown.ForDocuments()), clock.System{}), Limits: handlers.NewLimits(a.rates(), clock.System{}),
		Audit:     handlers.NewAudit(frame, a.db, clock.System{}, a.logger("handlers")),
		Members:   handlers.NewMembers(frame, a.db, sockets, cookie, clock.System{}, a.invitationMailer(), cfg.Server.BaseURL),
		AdminKeys: handlers.NewAdminKeys(frame, a.db, sockets, clock.System{}), Organisation: handlers.NewOrganisation(frame, a.db),
		Assistants: handlers.NewAssistantPages(frame, a.assistants, a.workshop, a.workshop, clock.System{}),
		Memory:     handlers.NewMemory(frame, a.db, clock.System{}),
		Once:       middleware.Idempotency(a.db.Idempotency(), a.logger("handlers")),
		API:        a.api,
		Socket:     a.sockets.Handler(), Assets: handlers.Assets(assets), Cross: cross, DevIDP: idp, Outbox: a.outboxPage(frame),
		Studio: a.studio(frame, runs),
	}.Register(a.web)
	a.web.Use(func(*fiber.Ctx) error { return fiber.ErrNotFound })
	return nil
}

// failing is the one error handler. A request that the server refuses before any
// route, such as a body too large, hasn't met the middleware: what lets a page
// of another origin read the refusal is set here as well.
func failing(frame *handlers.Frame, cross *middleware.CrossOrigin) fiber.ErrorHandler {
	return func(c *fiber.Ctx, err error) error {
		if handlers.OfAPI(c) {
			cross.Announce(c)
		}
		return frame.Fail(c, err)
	}
}

// pageThreads is the pages' view of the store: whoever watches a thread is told
// when it is gone.
type pageThreads struct {
	*store.DB
	wire *wire
}

// DeleteThread implements handlers.ThreadStore.
func (p pageThreads) DeleteThread(ctx context.Context, scope auth.Scope, thread agents.ThreadID) error {
	if err := p.DB.DeleteThread(ctx, scope, thread); err != nil {
		return err
	}
	p.wire.recheck(ctx, scope.Org, thread)
	return nil
}

// apiThreads is the API's view of the store: whoever watches a thread is told when
// it is gone.
type apiThreads struct {
	assistants
	wire *wire
}

// DeleteThread implements api.ThreadShelf.
func (t apiThreads) DeleteThread(ctx context.Context, scope auth.Scope, thread agents.ThreadID) error {
	return pageThreads{t.DB, t.wire}.DeleteThread(ctx, scope, thread)
}

// RetireThread implements api.ThreadShelf.
func (t apiThreads) RetireThread(ctx context.Context, scope auth.Scope, thread agents.ThreadID, how agents.RetentionStrategy) (bool, error) {
	done, err := t.DB.RetireThread(ctx, scope, thread, how)
	if done && how == agents.DeleteThread {
		t.wire.recheck(ctx, scope.Org, thread)
	}
	return done, err
}

// studio looks into graphs and threads; nil outside development.
func (a *App) studio(frame *handlers.Frame, runs handlers.Runs) *handlers.Studio {
	if !a.o.Config.Server.Env.Development() {
		return nil
	}
	return handlers.NewStudio(frame, a.db, a.assistants, a.registry, runs, clock.System{}, a.outbox != nil)
}

func (a *App) assets() (*static.Assets, error) {
	files := static.Embedded()
	if dir := a.o.Config.Server.StaticDir; dir != "" {
		files = os.DirFS(dir)
	}
	assets, err := static.Load(files)
	if err != nil {
		return nil, fmt.Errorf("loading the assets (make assets builds them): %w", err)
	}
	return assets, nil
}

// socketServer builds the socket and its topics.
func (a *App) socketServer(door *signin.Service, cookie string, threads *handlers.Threads, runs channel.Runs) error {
	router := socket.NewRouter()
	router.Handle("thread:*", channel.NewThread(a.db, runs, threads.Projector))
	router.Handle("user", channel.User{})
	router.Handle("reviews", channel.NewReviews(a.service))
	var err error
	a.sockets, err = socket.New(socket.Options{
		Hub: a.hub, Router: router, Logger: a.logger("realtime"), Authenticate: channel.Authenticator(door, cookie), Address: middleware.AddressText,
		Revalidate: a.ended, Origins: []string{a.o.Config.Server.BaseURL},
	})
	return err
}

// ended tells which browser sessions and API keys of open sockets are over.
func (a *App) ended(ctx context.Context, ids []string) ([]string, error) {
	live, err := a.db.LiveCredentials(ctx, ids, clock.System{}.Now())
	if err != nil {
		return nil, err
	}
	var gone []string
	for _, id := range ids {
		if !live[id] {
			gone = append(gone, id)
		}
	}
	return gone, nil
}

// providers lists the configured ways to sign in and, in development, starts
// the identity provider that the first of them speaks to.
func (a *App) providers() ([]oauth.Provider, fiber.Handler, error) {
	cfg := a.o.Config
	var list []oauth.Provider
	if cfg.SignIn.OIDCIssuer != "" {
		list = append(list, oauth.Provider{Name: "oidc", Label: cfg.SignIn.OIDCName, Kind: oauth.KindOIDC,
			Issuer: cfg.SignIn.OIDCIssuer, ClientID: cfg.SignIn.OIDCClientID, ClientSecret: cfg.SignIn.OIDCClientSecret.Reveal()})
	}
	if cfg.SignIn.GoogleClientID != "" {
		list = append(list, oauth.Provider{Name: "google", Label: "Google", Kind: oauth.KindGoogle,
			ClientID: cfg.SignIn.GoogleClientID, ClientSecret: cfg.SignIn.GoogleClientSecret.Reveal()})
	}
	if cfg.SignIn.GitHubClientID != "" {
		list = append(list, oauth.Provider{Name: "github", Label: "GitHub", Kind: oauth.KindGitHub,
			ClientID: cfg.SignIn.GitHubClientID, ClientSecret: cfg.SignIn.GitHubClientSecret.Reveal()})
	}
	if !cfg.Server.Env.Development() {
		return list, nil, nil
	}
	secret := sha256.Sum256(append([]byte("heddle development identity provider"), a.o.SecretKey...))
	client := oauth.Provider{Name: devidp.ProviderName, Label: "Demo sign-in", Kind: oauth.KindOIDC,
		Issuer: devidp.Issuer(cfg.Server.BaseURL), ClientID: "heddle-development", ClientSecret: hex.EncodeToString(secret[:])}
	idp, err := devidp.New(devidp.Options{
		BaseURL: cfg.Server.BaseURL, ClientID: client.ClientID, ClientSecret: client.ClientSecret, Clock: clock.System{}})
	if err != nil {
		return nil, nil, fmt.Errorf("starting the development identity provider: %w", err)
	}
	return append(list, client), adaptor.HTTPHandler(idp), nil
}

func prefixes(in config.Prefixes) []string {
	out := make([]string, len(in))
	for i, p := range in {
		out[i] = p.String()
	}
	return out
}

// crossOrigin is what pages of the configured origins may do.
func crossOrigin(origins config.Origins) *middleware.CrossOrigin {
	list := make([]string, len(origins))
	for i, o := range origins {
		list[i] = o.String()
	}
	return middleware.NewCrossOrigin(list)
}

// checks are what /readyz asks.
func (a *App) checks() []handlers.Check {
	return []handlers.Check{
		{Name: "database", Required: true, Probe: func(ctx context.Context) error {
			if err := a.db.Ping(ctx); err != nil {
				return errors.New("the database does not answer")
			}
			return nil
		}},
		{Name: "migrations", Required: true, Probe: a.SchemaCurrent},
		{Name: "redis", Probe: func(context.Context) error {
			if s := a.hub.State(); !s.Connected {
				return errors.New("other nodes are not heard: " + s.Reason)
			}
			return nil
		}},
	}
}

// Route is one address of the product.
type Route struct{ Method, Path string }

// Routes lists every address of the product, for tests that visit them all.
func (a *App) Routes() []Route {
	var out []Route
	for _, r := range a.web.GetRoutes(true) {
		out = append(out, Route{Method: r.Method, Path: r.Path})
	}
	return out
}
