//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof" // -profile asks for it; the product itself has no such route
	"os"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/config"
	"github.com/heddle/heddle/internal/id"
)

// A person may hold 100 sockets on a node, so the audience is several people.
const (
	readers          = 20
	socketsPerReader = 90
)

// served is what the product's process tells the driver.
type served struct {
	Addr  string   `json:"addr"`
	Debug string   `json:"debug"`
	Org   string   `json:"org"`
	Keys  []string `json:"keys"` // one per reader
	// Thread can be read by the whole organisation.
	Thread string `json:"thread"`
	// Reviewer is the key of somebody who may decide there.
	Reviewer string `json:"reviewer"`
	// AcmeThread is one of a demo person.
	AcmeThread string `json:"acme_thread"`
}

// serve is the product as `heddle serve` composes it, in a process of its own,
// with nobody's limits in the way and a port for profiles and for runs from
// within.
func serve(ctx context.Context) error {
	flags := flag.NewFlagSet(childServe, flag.ContinueOnError)
	database := flags.String("database", "", "PostgreSQL URL")
	redis := flags.String("redis", "", "Redis URL")
	dir := flags.String("dir", "", "data directory")
	worker := flags.String("worker", "on", "whether it executes runs: on or off")
	merge := flags.String("merge", "80ms", "how long pieces of an answer are gathered")
	provider := flags.String("provider", "", "base URL of a model provider")
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	defer listener.Close()
	more := []string{"HEDDLE_WORKER=" + *worker, "HEDDLE_MERGE=" + *merge}
	if *provider != "" {
		more = append(more, "OPENAI_BASE_URL="+*provider)
	}
	options, err := productOptions(listener.Addr().String(), *database, *redis, *dir, more...)
	if err != nil {
		return err
	}
	if err := app.Migrate(ctx, *database, options.Logger); err != nil {
		return err
	}
	a, err := app.New(ctx, options)
	if err != nil {
		return err
	}
	defer a.Close()
	if err := a.Seed(ctx); err != nil {
		return err
	}
	out := served{Addr: listener.Addr().String()}
	within := &insider{db: a.Database(), runs: a.Runs()}
	if within.scopes, err = invite(ctx, a, &out); err != nil {
		return err
	}
	debug, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening for profiles: %w", err)
	}
	out.Debug = debug.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.Handle("POST /runs", within)
	profiles := &http.Server{ReadHeaderTimeout: time.Second, Handler: mux}
	profiling := make(chan error, 1)
	go func() { profiling <- profiles.Serve(debug) }()
	err = a.ServeOn(ctx, listener, func(net.Addr) { _ = json.NewEncoder(os.Stdout).Encode(out) }) // the driver notices a lost line
	closed := profiles.Close()
	if ended := <-profiling; !errors.Is(ended, http.ErrServerClosed) {
		closed = errors.Join(closed, ended)
	}
	return errors.Join(err, closed)
}

// productOptions are those of a development server on given PostgreSQL and
// Redis, with a model that takes no time. This is the place that switches off
// what limits a client's rate.
func productOptions(addr, database, redis, dir string, more ...string) (app.Options, error) {
	cfg, err := config.Load(config.Options{
		Environ: append([]string{
			"HEDDLE_ENV=development", "HEDDLE_ADDR=" + addr, "HEDDLE_BASE_URL=http://" + addr, "HEDDLE_DATA_DIR=" + dir, "HEDDLE_LOG=warn",
			"HEDDLE_DRAIN=2s", "HEDDLE_RATE_LIMITS=off", "DATABASE_URL=" + database, "REDIS_URL=" + redis,
		}, more...),
		DotEnv: dir + "/none",
	})
	if err != nil {
		return app.Options{}, err
	}
	steps, err := chain()
	if err != nil {
		return app.Options{}, fmt.Errorf("compiling the graph of the rows of steps: %w", err)
	}
	ticks, err := ticker()
	if err != nil {
		return app.Options{}, fmt.Errorf("compiling the graph of the rows of recovery: %w", err)
	}
	return app.Options{
		Graphs: []*graph.Graph{steps, ticks},
		Config: cfg, DatabaseURL: database, RedisURL: redis, SecretKey: []byte("the benchmark's own secret of 32 bytes"),
		Version: "bench", Logger: logger(), TokensPerSecond: 0,
	}, nil
}

// invite makes the readers, a key for each, the thread they all watch, and the
// assistants of some rows.
func invite(ctx context.Context, a *app.App, out *served) ([]auth.Scope, error) {
	var scopes []auth.Scope
	for i := range readers {
		name := fmt.Sprintf("reader%02d", i)
		scope, err := a.Database().EnsurePerson(ctx, auth.Person{
			Identity: auth.Identity{Issuer: "https://bench.test", Subject: name}, Provider: "bench",
			Email: name + "@bench.test", Name: name, OrgSlug: "bench", OrgName: "Bench", Role: auth.RoleMember,
		})
		if err != nil {
			return nil, err
		}
		scopes = append(scopes, scope)
		key, secret, err := auth.MintAPIKey(scope, auth.KeyID(id.New()), name, []auth.KeyScope{auth.ScopeRun}, time.Hour*24, time.Now().UTC())
		if err != nil {
			return nil, fmt.Errorf("minting a key: %w", err)
		}
		if err := a.Database().CreateAPIKey(ctx, scope, key); err != nil {
			return nil, err
		}
		out.Keys = append(out.Keys, secret.Reveal())
	}
	out.Org = string(scopes[0].Org)
	thread, err := a.Database().CreateThread(ctx, scopes[0], agents.NewThread{Visibility: agents.VisibilityOrganisation})
	if err != nil {
		return nil, err
	}
	out.Thread = string(thread.ID)
	for _, assistant := range []agents.Assistant{tickingAssistant(), askingAssistant()} {
		if err := a.Database().EnsureAssistant(ctx, scopes[0], assistant); err != nil {
			return nil, err
		}
	}
	return scopes, appoint(ctx, a, out)
}

// appoint makes a reviewer, and a thread whose requests fill a demo person's
// queue.
func appoint(ctx context.Context, a *app.App, out *served) error {
	db := a.Database()
	scope, err := db.EnsurePerson(ctx, auth.Person{
		Identity: auth.Identity{Issuer: "https://bench.test", Subject: "judge"}, Provider: "bench",
		Email: "judge@bench.test", Name: "judge", OrgSlug: "bench", OrgName: "Bench", Role: auth.RoleReviewer,
	})
	if err != nil {
		return err
	}
	key, secret, err := auth.MintAPIKey(scope, auth.KeyID(id.New()), "judge", []auth.KeyScope{auth.ScopeRun, auth.ScopeReview}, time.Hour*24, time.Now().UTC())
	if err != nil {
		return fmt.Errorf("minting a key: %w", err)
	}
	if err := db.CreateAPIKey(ctx, scope, key); err != nil {
		return err
	}
	out.Reviewer = secret.Reveal()
	mia, err := db.MemberScope(ctx, "acme", "mia@acme.test")
	if err != nil {
		return err
	}
	thread, err := db.CreateThread(ctx, mia, agents.NewThread{})
	out.AcmeThread = string(thread.ID)
	return err
}

// product is the running product.
type product struct {
	*child
	served
}

// startProduct starts a product; more are flags of serve.
func startProduct(b *backing, more ...string) (*product, error) {
	p := &product{}
	dir, err := os.MkdirTemp(b.dir, "product-")
	if err != nil {
		return nil, fmt.Errorf("making a directory: %w", err)
	}
	p.child, err = spawnSelf(&p.served, append([]string{
		childServe, "-database", b.productURL(), "-redis", "redis://" + b.redisAt + "/0", "-dir", dir}, more...)...)
	return p, err
}
