package handlers

import (
	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/handlers/api"
	"github.com/heddle/heddle/handlers/middleware"
)

// Routes are the groups of handlers that [Routes.Register] mounts. Optional
// ones may be nil.
type Routes struct {
	Frame   *Frame
	Who     *middleware.Identity
	Health  *Health
	Auth    *Auth
	Threads *Threads
	// Account, Keys and Knowledge are the pages around a person.
	Account   *Account
	Keys      *Keys
	Knowledge *Knowledge
	Limits    Limits
	API       *api.API
	// Socket upgrades /socket/websocket; it authenticates by itself.
	Socket fiber.Handler
	// Assets serves /static.
	Assets fiber.Handler
	// CORS answers preflights of the API for the configured origins; optional.
	CORS fiber.Handler
	// DevIDP is the development identity provider; nil elsewhere.
	DevIDP fiber.Handler
}

// Register mounts every route of the product. It is the only list of them;
// public.go names those that need no sign-in.
func (r Routes) Register(app *fiber.App) {
	r.registerPublic(app)

	page := r.Who.Page
	app.Get("/", page, r.Threads.Home)
	app.Get("/threads", page, r.Threads.List)
	app.Post("/threads", page, r.Threads.Create)
	app.Get("/threads/:thread", page, r.Threads.Show)
	app.Post("/threads/:thread/messages", page, r.Threads.Send)
	app.Post("/threads/:thread/cancel", page, r.Threads.Stop)
	app.Post("/threads/:thread/queue/:run/withdraw", page, r.Threads.Withdraw)
	app.Post("/threads/:thread/title", page, r.Threads.Rename)
	app.Post("/threads/:thread/delete", page, r.Threads.Delete)

	app.Post("/auth/logout", page, r.Auth.Logout)
	app.Post("/account/org", page, r.Auth.SwitchOrg)
	app.Get("/account", page, r.Account.Show)
	app.Post("/account/theme", page, r.Account.Theme)
	app.Post("/account/sessions/:id/revoke", page, r.Account.Revoke)
	app.Get("/account/keys", page, r.Keys.Show)
	app.Post("/account/keys", page, r.Limits.NewKey.ByUser, r.Keys.Create)
	app.Post("/account/keys/:id/revoke", page, r.Keys.Revoke)
	app.Get("/knowledge/:slug", page, r.Knowledge.Show)

	key := r.Who.API
	app.Post("/api/threads", key, r.API.CreateThread)
	app.Get("/api/threads/:thread", key, r.API.GetThread)
	app.Get("/api/threads/:thread/state", key, r.API.GetState)
	app.Post("/api/threads/:thread/runs", key, r.API.CreateRun)
	app.Post("/api/threads/:thread/runs/wait", key, r.API.WaitRun)
	app.Get("/api/threads/:thread/runs/:run", key, r.API.GetRun)
	app.Post("/api/threads/:thread/runs/:run/cancel", key, r.API.CancelRun)
}
