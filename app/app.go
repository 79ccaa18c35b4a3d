// Package app is the composition root: it builds every part by hand and joins
// them, so that tests boot the whole product in-process and others can build a
// custom binary. It and cmd are the only readers of config.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/prebuilt"
	"github.com/heddle/heddle/agents/retention"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/config"
	"github.com/heddle/heddle/handlers"
	"github.com/heddle/heddle/handlers/api"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/migrations"
	"github.com/heddle/heddle/outbound/mail"
	"github.com/heddle/heddle/outbound/webhook"
	"github.com/heddle/heddle/realtime"
	"github.com/heddle/heddle/realtime/socket"
	"github.com/heddle/heddle/store"
)

// Options are what a command or test decides.
type Options struct {
	Config *config.Config
	// DatabaseURL and RedisURL are where the servers are, embedded or not.
	DatabaseURL, RedisURL string
	// SecretKey signs tokens: the configured one, or development's.
	SecretKey []byte
	Version   string
	Logger    *slog.Logger
	// Graphs are registered beside the ones Heddle ships.
	Graphs []*graph.Graph
	// Tools are registered beside the ones Heddle ships; an assistant uses those
	// that its configuration names.
	Tools []tool.Tool
	// TokensPerSecond is the mock model's pace; 0 is no delay at all.
	TokensPerSecond float64
	// Mailer mails invitations; without one their links are only shown.
	Mailer handlers.Mailer
	// Break are breakpoints for every run; development only.
	Break agents.Breakpoints
	// Rates replace those that HEDDLE_RATE_LIMITS stands for.
	Rates *handlers.Rates
	// WebhookPace is how often webhooks are attempted; zero is the usual.
	WebhookPace webhook.Pace
}

// App is a composed server.
type App struct {
	o       Options
	db      *store.DB
	redis   *redis.Client
	hub     *realtime.Hub
	wire    *wire
	sockets *socket.Server
	log     *run.Log
	worker  *run.Worker
	sweeper *retention.Sweeper
	hooks   webhooks
	service *run.Service
	// discarder removes threads of runs that need none.
	discarder *run.Discarder
	tools     *tool.Dispatcher
	outbox    *mail.Outbox // in development without a mail server
	post      *postOffice  // nil where no mail leaves
	// registry holds the graphs of this server.
	registry *prebuilt.Registry
	// workshop knows what assistants can be made of.
	workshop *prebuilt.Workshop
	health   *handlers.Health
	api      *api.API
	web      *fiber.App
	// toProviders is the client for model providers, nil if there are none.
	toProviders *http.Client
	// assistants provides the defaults of each organisation.
	assistants assistants
}

// New builds the parts; nothing runs yet and nothing has connected.
func New(ctx context.Context, o Options) (*App, error) {
	a := &App{o: o}
	if err := a.storage(ctx); err != nil {
		return nil, err
	}
	graphs, tools, err := a.graphs()
	if err != nil {
		a.Close()
		return nil, err
	}
	a.runs(graphs, tools)
	if a.sweeper, err = retention.New(a.sweeping()); err != nil {
		a.Close()
		return nil, err
	}
	if a.hooks, err = a.webhooks(); err != nil {
		a.Close()
		return nil, err
	}
	if err := a.serving(); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// storage opens PostgreSQL and Redis and puts the hub before them.
func (a *App) storage(ctx context.Context) error {
	cfg := a.o.Config
	var err error
	a.db, err = store.Open(ctx, store.Options{
		URL: a.o.DatabaseURL, MaxConns: int32(cfg.Storage.DBMaxConns), MinConns: int32(cfg.Storage.DBMinConns),
		StatementTimeout: cfg.Storage.DBStatement,
		Bounds: store.Bounds{ExecutingPerOrg: cfg.Worker.PerOrg, ExecutingPerPerson: cfg.Worker.PerPerson, QueuedPerOrg: cfg.Worker.QueuedPerOrg,
			QueuedPerPerson: cfg.Worker.QueuedPerPerson, QueuedPerThread: cfg.Worker.QueuedPerThread}})
	if err != nil {
		return err
	}
	address, err := redis.ParseURL(a.o.RedisURL)
	if err != nil {
		a.db.Close()
		return errors.New("reading the Redis URL: it is not a redis:// address")
	}
	address.ContextTimeoutEnabled = true
	address.DialTimeout = 2 * time.Second
	a.redis = redis.NewClient(address)
	a.hub = realtime.New(realtime.Options{Redis: a.redis, Log: a.logReader(), Logger: a.logger("realtime")})
	a.wire = &wire{hub: a.hub, log: a.logger("realtime")}
	return nil
}

// runs builds what accepts and executes runs.
func (a *App) runs(graphs *prebuilt.Registry, tools *tool.Registry) {
	cfg := a.o.Config.Worker
	a.assistants = assistants{DB: a.db, graphs: graphs.Names(), special: demoAssistants(a.o.Config)}
	a.log = run.NewLog(a.appender(), a.wire, a.logger("agents"))
	a.discarder = run.NewDiscarder(a.db, a.logger("agents"))
	a.worker = run.NewWorker(run.Options{
		Version: a.o.Version, Break: a.o.Break, Store: a.runStore(), Graphs: graphs, Log: a.log, Publish: a.wire, Signals: a.wire, Logger: a.logger("agents"),
		Arrive: a.arrive,
		Expire: func(ctx context.Context) (int, error) { return a.service.ExpireDue(ctx) },
		Tidy:   func(ctx context.Context) (int, error) { return a.db.DiscardLeft(ctx, run.LeftFor, discardAtOnce) },
		Runs:   cfg.Runs, Lease: cfg.Lease, Renew: cfg.Renew, Sweep: cfg.Sweep, Drain: a.o.Config.Server.Drain,
		Merge: merging(cfg.Merge),
	})
	a.wire.offer = a.worker.Offer
	a.service = run.NewService(run.Parts{Queue: queue{a.assistants}, Publish: a.wire, Signals: a.wire, Watch: a.wire, Ender: a.worker, Discard: a.discarder, Tools: tools,
		Graphs: graphs, Clock: clock.System{}, Logger: a.logger("agents"), Strategy: agents.Strategy(cfg.Strategy)})
}

// merging is the worker's word for a setting in which zero means off.
func merging(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// discardAtOnce bounds how many threads of runs that need none one sweep removes.
const discardAtOnce = 500

// queue is the service's view of the store, with assistants that appear by
// themselves.
type queue struct{ assistants }

func (a *App) logger(module string) *slog.Logger { return a.o.Logger.With("module", module) }

// Database gives the store, for commands and tests.
func (a *App) Database() *store.DB { return a.db }

// Runs gives the service that accepts, cancels and awaits runs, for programs that
// start some by themselves.
func (a *App) Runs() *run.Service { return a.service }

// BaseURL is the public address of the server.
func (a *App) BaseURL() string { return a.o.Config.Server.BaseURL }

// Migrate brings the database to this binary's schema.
func Migrate(ctx context.Context, databaseURL string, log *slog.Logger) error {
	before, after, err := store.Migrate(ctx, databaseURL, migrations.FS, func(name string) {
		log.InfoContext(ctx, "migrating", "file", name)
	})
	if err != nil {
		return err
	}
	if before.Current != after.Current {
		log.InfoContext(ctx, "database migrated", "from", before.Current, "to", after.Current)
	}
	return nil
}

// Serve listens on the configured address and serves until ctx ends, then
// drains: not ready at once, sockets told to move, runs finished or handed
// back. ready is called with the address once requests are answered.
func (a *App) Serve(ctx context.Context, ready func(net.Addr)) error {
	listener, err := net.Listen("tcp", a.o.Config.Server.Addr)
	if err != nil {
		return fmt.Errorf("listening on %s (HEDDLE_ADDR): %w", a.o.Config.Server.Addr, err)
	}
	return a.ServeOn(ctx, listener, ready)
}

// ServeOn is Serve on a listener of the caller.
func (a *App) ServeOn(ctx context.Context, listener net.Listener, ready func(net.Addr)) error {
	// The hub, the sockets and the web server outlive ctx until the drain is over.
	base, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var parts errgroup.Group
	failed := make(chan error, 1)
	start := func(name string, part func() error) {
		parts.Go(func() error {
			err := part()
			if err != nil && base.Err() == nil {
				select {
				case failed <- fmt.Errorf("%s ended: %w", name, err):
				default:
				}
			}
			return err
		})
	}
	start("hub", func() error { return a.hub.Run(base) })
	start("socket server", func() error { return a.sockets.Run(base) })
	start("web server", func() error { return a.web.Listener(listener) })

	working, stopWorking := context.WithCancel(base)
	defer stopWorking()
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		if a.o.Config.Worker.Enabled.On() {
			a.work(working)
		}
	}()
	if ready != nil {
		ready(listener.Addr())
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	a.health.Drain()
	a.drain(base, stopWorking, worked)
	end()
	if waitErr := parts.Wait(); err == nil && waitErr != nil && !errors.Is(waitErr, context.Canceled) {
		err = waitErr
	}
	return err
}

// drain ends what serves, in the order in which nothing is lost: sockets and
// streams move away, runs reach a step's end or are handed back, whoever still
// waits for one is told, then the web server stops.
func (a *App) drain(base context.Context, stopWorking context.CancelFunc, worked <-chan struct{}) {
	stopWorking()
	a.api.EndStreams()
	moving, cancel := context.WithTimeout(base, 5*time.Second)
	if err := a.sockets.Drain(moving); err != nil {
		a.o.Logger.Warn("sockets did not all move in time", "err", err)
	}
	cancel()
	<-worked
	a.api.EndWaits()
	if err := a.web.ShutdownWithTimeout(5 * time.Second); err != nil {
		a.o.Logger.Warn("requests did not all end in time", "err", err)
	}
}

// Work executes runs until ctx ends, without serving: heddle worker.
func (a *App) Work(ctx context.Context) error {
	base, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var parts errgroup.Group
	parts.Go(func() error { return a.hub.Run(base) })
	a.work(ctx)
	end()
	if err := parts.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// work waits for the schema this binary expects, then executes runs, listens for
// the hints of other nodes, sends webhooks and takes its turn in sweeping.
func (a *App) work(ctx context.Context) {
	if !a.waitForSchema(ctx) {
		return
	}
	listening, stop := context.WithCancel(context.WithoutCancel(ctx))
	var listeners errgroup.Group
	listen := func(topic string, heard func(realtime.Message)) {
		listeners.Go(func() error {
			for listening.Err() == nil {
				if err := a.hub.Listen(listening, topic, heard); err != nil && listening.Err() == nil {
					a.o.Logger.Warn("hints of other nodes are not heard, trying again", "topic", topic, "err", err)
					pause(listening, time.Second)
				}
			}
			return nil
		})
	}
	listen(topicWake, func(realtime.Message) { a.worker.Wake() })
	listen(topicStop, func(m realtime.Message) { a.worker.Stop(stoppedRun(m)) })
	var beside sync.WaitGroup
	beside.Go(func() { a.sweeper.Run(ctx) })
	if a.hooks.deliverer != nil {
		beside.Go(func() { a.hooks.deliverer.Run(ctx) })
	}
	if err := a.worker.Run(ctx); err != nil {
		a.o.Logger.Error("worker ended", "err", err)
	}
	beside.Wait()
	stop()
	_ = listeners.Wait() // the listeners return nil
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := a.tools.Wait(settle); err != nil {
		a.o.Logger.Warn("tools are still running at the end", "err", err)
	}
}

// waitForSchema reports whether the schema became current before ctx ended.
func (a *App) waitForSchema(ctx context.Context) bool {
	for told := false; ctx.Err() == nil; {
		err := a.SchemaCurrent(ctx)
		if err == nil {
			return true
		}
		if !told {
			a.o.Logger.Warn("worker waits", "err", err)
			told = true
		}
		pause(ctx, time.Second)
	}
	return false
}

// SchemaCurrent checks that the database is at this binary's schema.
func (a *App) SchemaCurrent(ctx context.Context) error {
	state, err := a.db.Migrations(ctx, migrations.FS)
	if err != nil {
		return errors.New("the database does not answer")
	}
	if state.Behind() {
		return fmt.Errorf("the database is at migration %d and this binary needs %d: run heddle migrate", state.Current, state.Wanted)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Close releases what New opened, after Serve or Work has returned.
func (a *App) Close() {
	if a.log != nil {
		a.log.Close()
		a.discarder.Close()
	}
	if a.redis != nil {
		_ = a.redis.Close() // nothing of ours waits for an answer any more
	}
	if a.toProviders != nil {
		a.toProviders.CloseIdleConnections()
	}
	a.db.Close()
}
