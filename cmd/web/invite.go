package main

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

func inviteCommand() *cobra.Command {
	var org, user, email, role string
	cmd := &cobra.Command{
		Use: "invite", Short: "Invite somebody into an organisation; prints the link alone", Args: cobra.NoArgs,
		Long: "The link works once, for seven days, for whoever signs in with the verified address it was made for.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withMember(cmd, org, user, func(ctx context.Context, a *app.App, scope auth.Scope) error {
				token := auth.NewToken()
				err := a.Database().CreateInvitation(ctx, scope, auth.Invitation{
					ID: auth.InvitationID(id.New()), Email: email, Role: auth.Role(role), ExpiresAt: time.Now().UTC().Add(auth.InvitationLifetime),
				}, token.Digest())
				if err != nil {
					return err
				}
				link := a.BaseURL() + "/auth/login?invitation=" + url.QueryEscape(token.Reveal())
				_, err = fmt.Fprintln(cmd.OutOrStdout(), link)
				return err
			})
		},
	}
	memberFlags(cmd, &org, &user, "who invites, by e-mail address; an admin or owner")
	cmd.Flags().StringVar(&email, "email", "", "who is invited")
	cmd.Flags().StringVar(&role, "role", string(auth.RoleMember), "member, reviewer, admin or owner, not above the inviter's")
	required(cmd, "email")
	return cmd
}
