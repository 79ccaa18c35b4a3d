package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func domainCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "domain", Short: "E-mail domains of organisations"}
	var org, domain string
	prove := &cobra.Command{
		Use: "prove", Short: "State that a domain belongs to an organisation: people with a verified address there join it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			s, err := begin(ctx, false)
			if err != nil {
				return err
			}
			defer s.end(ctx)
			a, err := s.app(ctx)
			if err != nil {
				return err
			}
			defer a.Close()
			if err := a.Database().ProveDomain(ctx, org, domain, time.Now().UTC()); err != nil {
				return fmt.Errorf("proving %s for %s: %w", domain, org, err)
			}
			return nil
		},
	}
	prove.Flags().StringVar(&org, "org", "", "the organisation's short name, such as acme")
	prove.Flags().StringVar(&domain, "domain", "", "the domain, such as acme.example")
	for _, flag := range []string{"org", "domain"} {
		if err := prove.MarkFlagRequired(flag); err != nil {
			panic(err) // the flag is declared above
		}
	}
	cmd.AddCommand(prove)
	return cmd
}
