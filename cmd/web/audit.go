package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/store"
)

func auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "The audit logs of organisations",
		Long: "An audit log is a chain: each entry holds the hash of the one before it. verify reads it again; keep the head\n" +
			"that it prints outside the database, for only what is kept elsewhere shows that a whole chain was written anew.",
	}
	cmd.AddCommand(auditVerifyCommand(), auditExportCommand())
	return cmd
}

func auditVerifyCommand() *cobra.Command {
	var org string
	cmd := &cobra.Command{
		Use: "verify", Short: "Read every chain again; says where the first broken link is", Args: cobra.NoArgs,
		Long: "Prints a line for each organisation: how many entries hold, the times of the first and the last, and the head's\n" +
			"number and hash; or the first broken link. The exit code is 1 when a chain is broken.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withApp(cmd, func(ctx context.Context, a *app.App) error {
				return verifyAudit(ctx, cmd.OutOrStdout(), a.Database(), org)
			})
		},
	}
	cmd.Flags().StringVar(&org, "org", "", "only this organisation, by its short name, such as acme")
	return cmd
}

// verifyAudit prints what reading the chains found; an error says that one is
// broken.
func verifyAudit(ctx context.Context, out io.Writer, db *store.DB, slug string) error {
	orgs, err := db.AuditOrgs(ctx, slug)
	if err != nil {
		return err
	}
	broken := 0
	for _, org := range orgs {
		report, err := db.VerifyAuditOf(ctx, org.ID)
		if err != nil {
			return err
		}
		if !report.Holds() {
			broken++
		}
		if _, err := fmt.Fprintf(out, "%s: %s\n", org.Name(), chainWords(report)); err != nil {
			return err
		}
	}
	if broken > 0 {
		return fmt.Errorf("%d of %d audit logs broken", broken, len(orgs))
	}
	return nil
}

func chainWords(r auth.ChainReport) string {
	switch {
	case r.Broken != nil:
		return fmt.Sprintf("broken at entry %d: %s; %d entries before it hold", r.Broken.Seq, r.Broken.Fault, min(r.Verified.Seq, r.Broken.Seq-1))
	case r.Verified.Seq == 0:
		return "no entries"
	default:
		return fmt.Sprintf("%d entries, %s to %s, head %d %x", r.Verified.Seq,
			r.First.Format(time.RFC3339), r.Last.Format(time.RFC3339), r.Verified.Seq, r.Verified.Hash)
	}
}

func auditExportCommand() *cobra.Command {
	var org string
	cmd := &cobra.Command{
		Use: "export", Short: "Write an organisation's audit log to standard output, as JSON Lines", Args: cobra.NoArgs,
		Long: "One entry a line, the oldest first, with hashes in hexadecimal.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withApp(cmd, func(ctx context.Context, a *app.App) error {
				orgs, err := a.Database().AuditOrgs(ctx, org)
				if err != nil {
					return err
				}
				out := bufio.NewWriter(cmd.OutOrStdout())
				err = a.Database().AuditExportOf(ctx, orgs[0].ID, func(r auth.AuditRow) error { return r.WriteLine(out) })
				if err != nil {
					return err
				}
				return out.Flush()
			})
		},
	}
	cmd.Flags().StringVar(&org, "org", "", "the organisation's short name, such as acme")
	required(cmd, "org")
	return cmd
}
