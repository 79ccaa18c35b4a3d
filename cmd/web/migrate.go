package main

import (
	"github.com/spf13/cobra"

	"github.com/heddle/heddle/app"
)

func migrateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "migrate", Short: "Bring the database to this version's schema", Args: cobra.NoArgs,
		Long: "Makes the roles Heddle works under and runs the migrations that are due. The role of DATABASE_URL must own\n" +
			"the database and, the first time, may create roles; it need not be a superuser. Two nodes may migrate at once.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			s, err := begin(ctx, false)
			if err != nil {
				return err
			}
			defer s.end(ctx)
			return app.Migrate(ctx, s.backing.DatabaseURL, s.log)
		},
	}
}
