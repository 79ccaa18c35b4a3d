package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/app"
)

func serveCommand() *cobra.Command {
	var breaks agents.Breakpoints
	cmd := &cobra.Command{
		Use: "serve", Short: "Serve pages, sockets and the API, and execute runs (default)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd, breaks) },
	}
	cmd.Flags().StringSliceVar(&breaks.Before, "break-before", nil, "in development, pause every run before these `NODES`: names, SUB/NODE, or \"*\" for all")
	cmd.Flags().StringSliceVar(&breaks.After, "break-after", nil, "in development, pause every run after these `NODES`")
	return cmd
}

func serve(cmd *cobra.Command, breaks agents.Breakpoints) error {
	ctx := cmd.Context()
	s, err := begin(ctx, true)
	if err != nil {
		return err
	}
	defer s.end(ctx)
	development := s.cfg.Server.Env.Development()
	if development {
		// In production the schema changes only by heddle migrate.
		if err := app.Migrate(ctx, s.backing.DatabaseURL, s.log); err != nil {
			return err
		}
	}
	a, err := s.app(ctx, breaks)
	if err != nil {
		return err
	}
	defer a.Close()
	if development {
		if err := a.Seed(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-s.backing.Died():
			cancel(fmt.Errorf("the embedded PostgreSQL ended and could not be started again: %w", s.backing.Cause()))
		case <-ctx.Done():
		}
	}()
	err = a.Serve(ctx, func(net.Addr) {
		if err := s.backing.Announce(s.cfg.Server.BaseURL); err != nil {
			s.log.Warn("other commands can't attach", "err", err)
		}
		greet(cmd, s.cfg.Server.BaseURL, development)
	})
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// greet says where to go; the demo people exist in development only.
func greet(cmd *cobra.Command, baseURL string, development bool) {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "\n  Heddle %s serves %s\n", version, baseURL)
	if development {
		fmt.Fprintf(out, "  Sign in as one of the demo people: mia, max (members), ray (reviewer), ada (admin), olga (owner)\n")
		fmt.Fprintf(out, "  By command: curl -L -c jar '%s/auth/dev?login_hint=ada@acme.test'\n", baseURL)
	}
	fmt.Fprintln(out)
}
