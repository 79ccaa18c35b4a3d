package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/heddle/heddle/app"
)

// errStuck is the end of doctor when it found something.
var errStuck = errors.New("there is open work that this binary could not resume")

func doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check the database, and list open work that this binary could not resume", Args: cobra.NoArgs,
		Long: "Run it with the new binary before a deployment: it lists runs that wait for answers, stand in line or are under way\n" +
			"and that this version's graphs could not go on with, and why. Nothing is changed. The exit code is 1 if there are any.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withApp(cmd, func(ctx context.Context, a *app.App) error { return doctor(ctx, a, cmd.OutOrStdout()) })
		},
	}
}

func doctor(ctx context.Context, a *app.App, out io.Writer) error {
	if err := a.SchemaCurrent(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "database: reachable, schema current")
	found, err := a.Diagnose(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "open runs: %d, of which this binary could not resume: %d\n", found.Open, len(found.Stuck))
	if len(found.Stuck) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nORG\tTHREAD\tRUN\tSTATUS\tGRAPH\tREASON")
	for _, s := range found.Stuck {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Org, s.Thread, s.Run, s.Status, s.Graph, s.Reason)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("writing what was found: %w", err)
	}
	return errStuck
}
