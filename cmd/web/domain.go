package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/auth"
)

func domainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "domain", Short: "E-mail domains that place new people in an organisation",
		Long: "Whoever signs in with a verified address at a proved domain joins its organisation. A domain is proved by a\n" +
			"TXT record (claim, then check) or by an operator's word (prove).",
	}
	cmd.AddCommand(domainStep("claim", "Claim a domain and print the TXT record its owner publishes",
		func(ctx context.Context, cmd *cobra.Command, a *app.App, scope auth.Scope, domain string) error {
			claim, err := a.Database().ClaimDomain(ctx, scope, domain)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), claim.TXTRecord())
			return err
		}))
	cmd.AddCommand(domainStep("check", "Look for the TXT record of a claimed domain",
		func(ctx context.Context, _ *cobra.Command, a *app.App, scope auth.Scope, domain string) error {
			return a.ProveDomainByDNS(ctx, scope, domain, net.DefaultResolver)
		}))
	cmd.AddCommand(proveCommand())
	return cmd
}

// domainStep is a command that an owner of the organisation could do.
func domainStep(use, short string, do func(context.Context, *cobra.Command, *app.App, auth.Scope, string) error) *cobra.Command {
	var org, user, domain string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withMember(cmd, org, user, func(ctx context.Context, a *app.App, scope auth.Scope) error {
				return do(ctx, cmd, a, scope, domain)
			})
		},
	}
	memberFlags(cmd, &org, &user, "an owner of it, by e-mail address")
	cmd.Flags().StringVar(&domain, "domain", "", "the domain, such as acme.example")
	required(cmd, "domain")
	return cmd
}

func proveCommand() *cobra.Command {
	var org, domain string
	cmd := &cobra.Command{
		Use: "prove", Short: "State, as the operator, that a domain belongs to an organisation", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withApp(cmd, func(ctx context.Context, a *app.App) error {
				if err := a.Database().ProveDomain(ctx, org, domain, time.Now().UTC()); err != nil {
					return fmt.Errorf("proving %s for %s: %w", domain, org, err)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&org, "org", "", "the organisation's short name, such as acme")
	cmd.Flags().StringVar(&domain, "domain", "", "the domain, such as acme.example")
	required(cmd, "org", "domain")
	return cmd
}
