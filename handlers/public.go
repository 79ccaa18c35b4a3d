package handlers

import "github.com/gofiber/fiber/v2"

// registerPublic mounts every route that needs no sign-in. What is not here is
// refused to strangers; the socket authenticates its own upgrade.
func (r Routes) registerPublic(app *fiber.App) {
	app.Get("/healthz", r.Health.Live)
	app.Get("/readyz", r.Health.Ready)
	app.Get("/static/*", r.Assets)

	app.Get("/auth/login", r.Who.Maybe, r.Auth.Login)
	app.Get("/auth/:provider/callback", r.Limits.Callback.ByAddress, r.Auth.Callback)
	app.Get("/auth/:provider", r.Limits.SignIn.ByAddress, r.Auth.Begin)
	if r.DevIDP != nil {
		app.All("/dev/idp", r.DevIDP)
		app.All("/dev/idp/*", r.DevIDP)
	}

	app.Use("/api", r.Cross.Handle)
	app.Get("/api/ok", r.API.OK)
	app.Get("/api/info", r.API.Info)

	app.Get("/socket/websocket", r.Socket)
}
