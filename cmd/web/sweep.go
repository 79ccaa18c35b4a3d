package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/app"
)

func sweepCommand() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "sweep", Short: "Remove checkpoints, events, threads and stored items that are older than their lifetime", Args: cobra.NoArgs,
		Long: "Does now what a node does by itself every HEDDLE_RETENTION_SWEEP, and prints what went of each organisation.\n" +
			"With --dry-run nothing goes: it prints what would. The exit code is 1 if a thread could not be swept, or another\n" +
			"node sweeps at this moment. What has which lifetime: heddle config, under HEDDLE_CHECKPOINT_ and HEDDLE_EVENT_;\n" +
			"threads may have one of their own (ttl of the API).",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withApp(cmd, func(ctx context.Context, a *app.App) error { return sweep(ctx, a, cmd.OutOrStdout(), dry) })
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "print what would go, and change nothing")
	return cmd
}

func sweep(ctx context.Context, a *app.App, out io.Writer, dry bool) error {
	if err := a.SchemaCurrent(ctx); err != nil {
		return err
	}
	swept, err := a.Sweep(ctx, time.Now(), dry)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ORG\tTHREADS\tCHECKPOINTS\tMESSAGES\tLOG ROWS\tITEMS\tDELIVERIES\tBYTES")
	row := func(name string, s agents.Swept) {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", name, s.Threads, s.Checkpoints, s.Messages, s.Events, s.Items, s.Deliveries, s.Bytes)
	}
	for _, o := range swept.Orgs {
		row(o.Org, o.Swept)
	}
	row("total", swept.Total())
	if err := table.Flush(); err != nil {
		return fmt.Errorf("writing what went: %w", err)
	}
	did := "removed; looked at"
	if dry {
		did = "would go; looked at"
	}
	if _, err := fmt.Fprintf(out, "%s %d threads\n", did, swept.Report.Threads); err != nil {
		return fmt.Errorf("writing what went: %w", err)
	}
	if swept.Failed > 0 {
		return fmt.Errorf("%d threads could not be swept, the first because of: %w", swept.Failed, swept.Err)
	}
	return nil
}
