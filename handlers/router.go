package handlers

import (
	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/auth"
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
	Reviews *Reviews
	// Account, Keys and Knowledge are the pages around a person.
	Account   *Account
	Keys      *Keys
	Knowledge *Knowledge
	// Audit is the administration's page of the audit log.
	Audit *Audit
	// Members, AdminKeys and Organisation are rooms of the administration.
	Members      *Members
	AdminKeys    *AdminKeys
	Organisation *Organisation
	// Assistants is the administration of assistants.
	Assistants *AssistantPages
	Memory     *Memory
	Limits     Limits
	// Once carries out a request that names itself once; see
	// middleware.Idempotency.
	Once fiber.Handler
	API  *api.API
	// Socket upgrades /socket/websocket; it authenticates by itself.
	Socket fiber.Handler
	// Assets serves /static.
	Assets fiber.Handler
	// Cross lets pages of the configured origins call the API.
	Cross *middleware.CrossOrigin
	// DevIDP is the development identity provider; nil elsewhere.
	DevIDP fiber.Handler
	// Outbox is the mail that development kept; nil elsewhere.
	Outbox *Outbox
	// Studio looks into graphs and threads in development; nil elsewhere.
	Studio *Studio
}

// Register mounts every route of the product. It is the only list of them;
// public.go names those that need no sign-in.
func (r Routes) Register(app *fiber.App) {
	r.registerPublic(app)

	// once stands behind what changes something: a request with an
	// Idempotency-Key is carried out once. Signing out and switching have none,
	// for they end the very session that would ask again; runs/wait
	// and runs/stream have none, for their answers are as long as their runs.

	// for they end the very session that would ask again; runs/wait and streams have none,
	// for their answer is as long as its run.
	page, once := r.Who.Page, r.Once
	app.Get("/", page, r.Threads.Home)
	app.Get("/threads", page, r.Threads.List)
	app.Post("/threads", page, once, r.Threads.Create)
	app.Get("/threads/:thread", page, r.Threads.Show)
	app.Post("/threads/:thread/messages", page, once, r.Threads.Send)
	app.Post("/threads/:thread/cancel", page, once, r.Threads.Stop)
	app.Post("/threads/:thread/answer", page, once, r.Threads.Answer)
	app.Post("/threads/:thread/queue/:run/withdraw", page, once, r.Threads.Withdraw)
	app.Post("/threads/:thread/queue/:run/edit", page, once, r.Threads.EditQueued)
	app.Post("/threads/:thread/queue/:run/now", page, once, r.Threads.SendNow)
	app.Post("/threads/:thread/title", page, once, r.Threads.Rename)
	app.Post("/threads/:thread/assistant", page, once, r.Threads.Move)
	app.Post("/threads/:thread/delete", page, once, r.Threads.Delete)

	app.Get("/reviews", page, r.Reviews.Queue)
	app.Get("/reviews/history", page, r.Reviews.History)
	app.Get("/reviews/:review", page, r.Reviews.Show)
	app.Post("/reviews/:review/decide", page, once, r.Reviews.Decide)
	app.Post("/reviews/:review/claim", page, once, r.Reviews.Claim)
	app.Post("/reviews/:review/release", page, once, r.Reviews.Release)

	app.Post("/auth/logout", page, r.Auth.Logout)
	app.Post("/account/org", page, r.Auth.SwitchOrg)
	app.Get("/account", page, r.Account.Show)
	app.Post("/account/theme", page, once, r.Account.Theme)
	app.Post("/account/profile", page, once, r.Account.Rename)
	app.Post("/account/keyboard", page, once, r.Account.Keyboard)
	app.Post("/account/sessions/end-others", page, once, r.Account.RevokeOthers)
	app.Post("/account/sessions/:id/revoke", page, once, r.Account.Revoke)
	app.Get("/account/keys", page, r.Keys.Show)
	app.Post("/account/keys", page, once, r.Limits.NewKey.ByUser, r.Keys.Create)
	app.Post("/account/keys/:id/revoke", page, once, r.Keys.Revoke)
	app.Get("/knowledge/:slug", page, r.Knowledge.Show)
	if r.Outbox != nil {
		app.Get("/dev/outbox", page, r.Outbox.Show)
	}
	if r.Studio != nil {
		app.Get("/dev", page, r.Studio.Home)
		app.Get("/dev/graphs/:graph", page, r.Studio.Graph)
		app.Get("/dev/threads/:thread", page, r.Studio.Thread)
		app.Post("/dev/threads/:thread/rerun", page, once, r.Studio.Rerun)
		app.Post("/dev/threads/:thread/continue", page, once, r.Studio.Continue)
	}

	app.Post("/account/leave", page, once, r.Members.Leave)

	app.Get("/account/memory", page, r.Memory.Show)
	app.Get("/account/memory/export", page, r.Memory.Export)
	app.Get("/account/memory/item", page, r.Memory.Item)
	app.Post("/account/memory/item", page, once, r.Memory.Edit)
	app.Post("/account/memory/item/delete", page, once, r.Memory.Delete)
	app.Post("/account/memory/forget", page, once, r.Memory.Forget)

	app.Get("/admin", page, AdminHome)
	app.Get("/admin/audit", page, r.Audit.Show)
	app.Get("/admin/audit/export", page, r.Audit.Export)
	app.Post("/admin/audit/verify", page, once, r.Audit.Verify)
	app.Get("/admin/members", page, r.Members.List)
	app.Post("/admin/members", page, once, r.Limits.Invite.ByUser, r.Members.Invite)
	app.Get("/admin/members/:user", page, r.Members.Show)
	app.Post("/admin/members/:user/role", page, once, r.Members.SetRole)
	app.Post("/admin/members/:user/remove", page, once, r.Members.Remove)
	app.Post("/admin/invitations/:invitation/revoke", page, once, r.Members.Withdraw)
	app.Get("/admin/keys", page, r.AdminKeys.List)
	app.Post("/admin/keys/:id/revoke", page, once, r.AdminKeys.Revoke)
	app.Get("/admin/organisation", page, r.Organisation.Show)
	app.Post("/admin/organisation", page, once, r.Organisation.Change)
	app.Get("/admin/assistants", page, r.Assistants.List)
	app.Get("/admin/assistants/new", page, r.Assistants.New)
	app.Post("/admin/assistants", page, once, r.Assistants.Create)
	app.Get("/admin/assistants/:id", page, r.Assistants.Show)
	app.Post("/admin/assistants/:id", page, once, r.Assistants.Save)
	app.Post("/admin/assistants/:id/try", page, once, r.Limits.Trial.ByUser, r.Assistants.Try)
	app.Post("/admin/assistants/:id/archive", page, once, r.Assistants.Archive)
	app.Post("/admin/assistants/:id/restore", page, once, r.Assistants.Restore)
	app.Get("/admin/assistants/:id/diff", page, r.Assistants.Diff)
	app.Get("/admin/assistants/:id/versions/:v", page, r.Assistants.Version)
	app.Post("/admin/assistants/:id/versions/:v/activate", page, once, r.Assistants.Activate)
	app.Get("/admin/memory", page, r.Memory.Overview)
	app.Get("/admin/memory/:area/:holder", page, r.Memory.Show)
	app.Get("/admin/memory/:area/:holder/export", page, r.Memory.Export)
	app.Get("/admin/memory/:area/:holder/item", page, r.Memory.Item)
	app.Post("/admin/memory/:area/:holder/item", page, once, r.Memory.Edit)
	app.Post("/admin/memory/:area/:holder/item/delete", page, once, r.Memory.Delete)
	app.Post("/admin/memory/:area/:holder/forget", page, once, r.Memory.Forget)

	r.registerAPI(app, once)
	app.Use("/api", api.Unrouted(app.GetRoutes(true)))
}

// registerAPI mounts what programs call. Each route says what it needs between
// the key and what it does; testdata/scopes.txt shows what that comes to.
func (r Routes) registerAPI(app *fiber.App, once fiber.Handler) {
	key := r.Who.API(r.Limits.API.ByKey, api.Bounds)
	read, run, manage := middleware.Needs(auth.PermRead), middleware.Needs(auth.PermRun), middleware.Needs(auth.PermManageAssistant)

	// Threads.
	app.Post("/api/threads", key, run, once, r.API.CreateThread)
	app.Get("/api/threads/:thread", key, read, r.API.GetThread)
	app.Get("/api/threads/:thread/state", key, read, r.API.GetState)
	app.Post("/api/threads/:thread/state", key, run, once, r.API.UpdateState)

	// Runs.
	app.Post("/api/threads/:thread/runs", key, run, once, r.API.CreateRun)
	app.Post("/api/threads/:thread/runs/wait", key, run, r.API.WaitRun)
	app.Get("/api/threads/:thread/runs/:run", key, read, r.API.GetRun)
	app.Post("/api/threads/:thread/runs/:run/cancel", key, run, once, r.API.CancelRun)

	// Crons, which don't exist yet.
	app.Post("/api/runs/crons", key, run, once, r.API.NoCrons)
	app.Post("/api/runs/crons/search", key, read, once, r.API.NoCrons)
	app.Post("/api/runs/crons/count", key, read, once, r.API.NoCrons)
	app.Patch("/api/runs/crons/:cron", key, run, once, r.API.NoCrons)
	app.Delete("/api/runs/crons/:cron", key, run, once, r.API.NoCrons)
	app.Post("/api/threads/:thread/runs/crons", key, run, once, r.API.NoCrons)

	app.Get("/api/threads/:thread/runs", key, read, r.API.ListRuns)
	app.Delete("/api/threads/:thread/runs/:run", key, run, once, r.API.DeleteRun)
	app.Get("/api/threads/:thread/runs/:run/join", key, read, r.API.JoinRun)

	// Streams.
	app.Post("/api/threads/:thread/runs/stream", key, run, r.API.StreamRun)
	app.Get("/api/threads/:thread/runs/:run/stream", key, read, r.API.JoinStream)
	app.Get("/api/threads/:thread/stream", key, read, r.API.ThreadStream)

	// Assistants. Everybody in the organisation reads them.
	app.Post("/api/assistants", key, manage, once, r.API.CreateAssistant)
	app.Post("/api/assistants/search", key, read, r.API.SearchAssistants)
	app.Post("/api/assistants/count", key, read, r.API.CountAssistants)
	app.Get("/api/assistants/:assistant", key, read, r.API.GetAssistant)
	app.Patch("/api/assistants/:assistant", key, manage, once, r.API.ChangeAssistant)
	app.Delete("/api/assistants/:assistant", key, manage, once, r.API.DeleteAssistant)
	app.Post("/api/assistants/:assistant/versions", key, read, r.API.AssistantVersions)
	app.Post("/api/assistants/:assistant/latest", key, manage, once, r.API.UseVersion)
	app.Get("/api/assistants/:assistant/graph", key, read, r.API.AssistantGraph)
	app.Get("/api/assistants/:assistant/schemas", key, read, r.API.AssistantSchemas)
	app.Get("/api/assistants/:assistant/subgraphs", key, read, r.API.AssistantSubgraphs)
	app.Get("/api/assistants/:assistant/subgraphs/:ns", key, read, r.API.AssistantSubgraphs)

	// Threads: lists, changes and history. once stands before what changes something,
	// and not before what asks by POST.
	app.Post("/api/threads/search", key, read, r.API.SearchThreads)
	app.Post("/api/threads/count", key, read, r.API.CountThreads)
	app.Post("/api/threads/prune", key, run, once, r.API.PruneThreads)
	app.Patch("/api/threads/:thread", key, run, once, r.API.PatchThread)
	app.Delete("/api/threads/:thread", key, run, once, r.API.DeleteThread)
	app.Post("/api/threads/:thread/copy", key, run, once, r.API.CopyThread)
	app.Patch("/api/threads/:thread/state", key, run, once, r.API.PatchState)
	app.Post("/api/threads/:thread/state/checkpoint", key, read, r.API.PostStateAt)
	app.Get("/api/threads/:thread/state/:checkpoint", key, read, r.API.GetStateAt)
	app.Get("/api/threads/:thread/history", key, read, r.API.History)
	app.Post("/api/threads/:thread/history", key, read, r.API.History)

	// Runs without a thread of the caller's, and many at once.
	app.Post("/api/runs", key, run, once, r.API.CreateStateless)
	app.Post("/api/runs/wait", key, run, r.API.WaitStateless)
	app.Post("/api/runs/stream", key, run, r.API.StreamStateless)
	app.Get("/api/runs/:run/stream", key, read, r.API.JoinStateless)
	app.Post("/api/runs/batch", key, run, once, r.API.CreateBatch)
	app.Post("/api/runs/cancel", key, run, once, r.API.CancelRuns)

	// The store.
	app.Put("/api/store/items", key, run, once, r.API.PutItem)
	app.Get("/api/store/items", key, read, r.API.GetItem)
	app.Delete("/api/store/items", key, run, once, r.API.DeleteItem)
	app.Post("/api/store/items/search", key, read, r.API.SearchItems)
	app.Post("/api/store/namespaces", key, read, r.API.ListNamespaces)

	// Webhooks.
	app.Get("/api/webhooks/deliveries", key, manage, r.API.ListDeliveries)
	app.Post("/api/webhooks/deliveries/:delivery/requeue", key, manage, once, r.API.RequeueDelivery)
	app.Get("/api/webhooks/secret", key, manage, r.API.ShowWebhookSecret)
	app.Post("/api/webhooks/secret/rotate", key, manage, once, r.API.RenewWebhookSecret)
}
