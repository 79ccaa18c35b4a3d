// Command heddle is the whole product in one binary: it serves, executes runs,
// migrates the database and looks after it. Each subcommand is a file here;
// what they do is in package app.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/config"
	"github.com/heddle/heddle/store/embedded"
)

// version is set by the linker.
var version = "dev"

// exitLocked is the code for a data directory that another process serves from.
const exitLocked = 3

func main() {
	ctx, stop := context.WithCancel(context.Background())
	first := make(chan os.Signal, 1)
	signal.Notify(first, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-first
		signal.Stop(first) // a second signal ends the process at once; nothing committed is lost
		stop()
	}()
	err := root().ExecuteContext(ctx)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "heddle:", err)
	var locked *embedded.LockedError
	if errors.As(err, &locked) {
		os.Exit(exitLocked)
	}
	os.Exit(1)
}

func root() *cobra.Command {
	serve := serveCommand()
	cmd := &cobra.Command{
		Use: "heddle", Short: "An application server for AI agents that work in a team",
		Long: "Heddle serves chat, review and administration of AI agents, and an API that LangGraph clients speak.\n" +
			"Without a subcommand it serves. Settings come from the environment: see heddle config.",
		Version: version, SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs, RunE: serve.RunE,
	}
	cmd.AddCommand(serve, workerCommand(), migrateCommand(), configCommand(), apikeyCommand(), inviteCommand(), memberCommand(), domainCommand(), auditCommand(), graphCommand(registered), doctorCommand(), replayCommand(), sweepCommand(), healthcheckCommand())
	return cmd
}

// session is what a command works with: settings, logger, servers.
type session struct {
	cfg     *config.Config
	log     *slog.Logger
	backing *app.Backing
}

// begin reads the settings and finds or starts PostgreSQL and Redis.
func begin(ctx context.Context, serving bool) (*session, error) {
	cfg, err := config.Load(config.Options{})
	if err != nil {
		return nil, err
	}
	s := &session{cfg: cfg, log: cfg.Log.Logger(os.Stderr, "heddle")}
	if s.backing, err = app.Provide(ctx, cfg, serving, s.log); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *session) end(ctx context.Context) { s.backing.Close(context.WithoutCancel(ctx), s.log) }

// app composes the server; breaks pause every run, in development.
func (s *session) app(ctx context.Context, breaks agents.Breakpoints) (*app.App, error) {
	secret := s.cfg.Server.SecretKey
	if !secret.Set() {
		var err error
		if secret, err = config.DevSecret(s.cfg.Server.DataDir); err != nil {
			return nil, err
		}
	}
	key, err := config.DecodeKey(secret)
	if err != nil {
		return nil, err
	}
	return app.New(ctx, app.Options{
		Config: s.cfg, DatabaseURL: s.backing.DatabaseURL, RedisURL: s.backing.RedisURL, SecretKey: key,
		Version: version, Logger: s.log, TokensPerSecond: app.MockPace, Break: breaks,
	})
}
