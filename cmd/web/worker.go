package main

import (
	"github.com/spf13/cobra"

	"github.com/heddle/heddle/agents"
)

func workerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "worker", Short: "Execute runs without serving", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
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
			s.log.InfoContext(ctx, "worker starts")
			return a.Work(ctx)
		},
	}
}
