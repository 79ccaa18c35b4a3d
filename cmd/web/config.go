package main

import (
	"github.com/spf13/cobra"

	"github.com/heddle/heddle/config"
)

func configCommand() *cobra.Command {
	return &cobra.Command{
		Use: "config", Short: "Show every setting with its value and source, secrets masked", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(config.Options{})
			if printErr := cfg.Print(cmd.OutOrStdout()); printErr != nil {
				return printErr
			}
			return err
		},
	}
}
