package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

func apikeyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "apikey", Short: "Make API keys"}
	var org, user, name string
	var scopes []string
	var days int
	create := &cobra.Command{
		Use: "create", Short: "Make an API key that acts as a member; prints the key alone", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return createKey(cmd, org, user, name, scopes, time.Duration(days)*24*time.Hour)
		},
	}
	create.Flags().StringVar(&org, "org", "", "the organisation's short name, such as acme")
	create.Flags().StringVar(&user, "user", "", "the member's e-mail address")
	create.Flags().StringVar(&name, "name", "", "what the key is for")
	create.Flags().StringSliceVar(&scopes, "scope", []string{string(auth.ScopeChat)}, "what it may do: chat, review, admin")
	create.Flags().IntVar(&days, "days", 90, "how many days it is valid, 1 to 366")
	for _, flag := range []string{"org", "user", "name"} {
		if err := create.MarkFlagRequired(flag); err != nil {
			panic(err) // the flag is declared above
		}
	}
	cmd.AddCommand(create)
	return cmd
}

func createKey(cmd *cobra.Command, org, user, name string, scopes []string, valid time.Duration) error {
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
	scope, err := a.Database().MemberScope(ctx, org, user)
	if err != nil {
		return fmt.Errorf("finding %s in %s: %w", user, org, err)
	}
	list := make([]auth.KeyScope, len(scopes))
	for i, text := range scopes {
		list[i] = auth.KeyScope(strings.TrimSpace(text))
	}
	key, secret, err := auth.MintAPIKey(scope, auth.KeyID(id.New()), name, list, valid, time.Now().UTC())
	if err != nil {
		return err
	}
	if err := a.Database().CreateAPIKey(ctx, scope, key); err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), secret.Reveal())
	return err
}
