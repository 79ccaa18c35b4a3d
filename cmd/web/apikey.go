package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

func apikeyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "apikey", Short: "API keys"}
	var org, user, name string
	var scopes []string
	var days int
	create := &cobra.Command{
		Use: "create", Short: "Make an API key that acts as a member; prints the key alone", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withMember(cmd, org, user, func(ctx context.Context, a *app.App, scope auth.Scope) error {
				list := make([]auth.KeyScope, len(scopes))
				for i, text := range scopes {
					list[i] = auth.KeyScope(strings.TrimSpace(text))
				}
				valid := time.Duration(days) * 24 * time.Hour
				key, secret, err := auth.MintAPIKey(scope, auth.KeyID(id.New()), name, list, valid, time.Now().UTC())
				if err != nil {
					return err
				}
				if err := a.Database().CreateAPIKey(ctx, scope, key); err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), secret.Reveal())
				return err
			})
		},
	}
	memberFlags(create, &org, &user, "whom the key acts as, by e-mail address")
	create.Flags().StringVar(&name, "name", "", "what the key is for")
	create.Flags().StringSliceVar(&scopes, "scope", []string{string(auth.ScopeRun)}, "what it may do: read, run (includes read), review, admin")
	create.Flags().IntVar(&days, "days", 90, "how many days it is valid, 1 to 366")
	required(create, "name")
	cmd.AddCommand(create)
	return cmd
}
