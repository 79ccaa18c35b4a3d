package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/auth"
)

// withApp composes the server for one command and takes it apart again.
func withApp(cmd *cobra.Command, do func(context.Context, *app.App) error) error {
	ctx := cmd.Context()
	s, err := begin(ctx, false)
	if err != nil {
		return err
	}
	defer s.end(ctx)
	a, err := s.app(ctx, agents.Breakpoints{})
	if err != nil {
		return err
	}
	defer a.Close()
	return do(ctx, a)
}

// withMember is withApp for what a member does: the command acts within that
// person's rights.
func withMember(cmd *cobra.Command, org, user string, do func(context.Context, *app.App, auth.Scope) error) error {
	return withApp(cmd, func(ctx context.Context, a *app.App) error {
		scope, err := a.Database().MemberScope(ctx, org, user)
		if err != nil {
			return fmt.Errorf("finding %s in %s: %w", user, org, err)
		}
		scope.Command = true
		return do(ctx, a, scope)
	})
}

// memberFlags adds the two flags that name a member.
func memberFlags(cmd *cobra.Command, org, user *string, who string) {
	cmd.Flags().StringVar(org, "org", "", "the organisation's short name, such as acme")
	cmd.Flags().StringVar(user, "user", "", who)
	required(cmd, "org", "user")
}

func required(cmd *cobra.Command, flags ...string) {
	for _, flag := range flags {
		if err := cmd.MarkFlagRequired(flag); err != nil {
			panic(err) // a flag of our own that was never declared
		}
	}
}
