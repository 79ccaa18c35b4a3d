package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/auth"
)

func memberCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "member", Short: "Change or end somebody's membership of an organisation",
		Long: "The person who is named by --user has to be allowed to do it. What is open elsewhere ends within five seconds.",
	}
	var role string
	set := memberStep("role", "Give a member another role",
		func(ctx context.Context, a *app.App, scope auth.Scope, member auth.UserID) error {
			_, err := a.Database().SetRole(ctx, scope, member, auth.Role(role))
			return err
		})
	set.Flags().StringVar(&role, "role", "", "member, reviewer, admin or owner, not above the role of --user")
	required(set, "role")
	cmd.AddCommand(set, memberStep("remove", "Remove a member: sessions and API keys end, threads stay",
		func(ctx context.Context, a *app.App, scope auth.Scope, member auth.UserID) error {
			_, err := a.Database().RemoveMember(ctx, scope, member, time.Now().UTC())
			return err
		}))
	return cmd
}

// memberStep is a command about one member.
func memberStep(use, short string, do func(context.Context, *app.App, auth.Scope, auth.UserID) error) *cobra.Command {
	var org, user, email string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withMember(cmd, org, user, func(ctx context.Context, a *app.App, scope auth.Scope) error {
				member, err := a.Database().MemberScope(ctx, org, email)
				if err != nil {
					return fmt.Errorf("finding %s in %s: %w", email, org, err)
				}
				return do(ctx, a, scope, member.User)
			})
		},
	}
	memberFlags(cmd, &org, &user, "who does it, by e-mail address; an admin or owner")
	cmd.Flags().StringVar(&email, "email", "", "whom it is about")
	required(cmd, "email")
	return cmd
}
