package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/prebuilt"
	"github.com/heddle/heddle/agents/replay"
	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/auth"
)

// errDiffers is the end of replay when it found a difference.
var errDiffers = errors.New("something differs")

func replayCommand() *cobra.Command {
	var pair bool
	cmd := &cobra.Command{
		Use: "replay FILE…", Short: "Execute recorded runs again and say the first difference", Args: cobra.MinimumNArgs(1),
		Long: "Executes the runs of each recording with what models and tools said then, and compares events and final state.\n" +
			"With --compare it executes nothing and compares two recordings of the same work, such as a run that was interrupted\n" +
			"and one that was not. No database is needed. The exit code is 1 if anything differs.",
		RunE: func(cmd *cobra.Command, files []string) error {
			if pair {
				return compareFiles(files, cmd.OutOrStdout())
			}
			return replayFiles(cmd.Context(), files, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&pair, "compare", false, "compare two recordings with each other")
	cmd.AddCommand(replayExportCommand())
	return cmd
}

func replayExportCommand() *cobra.Command {
	var org, user, thread string
	cmd := &cobra.Command{
		Use: "export", Short: "Write a recording of a thread to standard output", Args: cobra.NoArgs,
		Long: "The recording holds all that was said on the thread, and its private channels. Ids of people are replaced,\n" +
			"their words are not: treat the file as you treat the thread.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withMember(cmd, org, user, func(ctx context.Context, a *app.App, scope auth.Scope) error {
				r, err := a.Record(ctx, scope, agents.ThreadID(thread), thread)
				if err != nil {
					return err
				}
				raw, err := r.Encode()
				if err != nil {
					return err
				}
				if _, err := cmd.OutOrStdout().Write(raw); err != nil {
					return fmt.Errorf("writing a recording: %w", err)
				}
				return nil
			})
		},
	}
	memberFlags(cmd, &org, &user, "e-mail address of a member who may read the thread")
	cmd.Flags().StringVar(&thread, "thread", "", "id of the thread")
	required(cmd, "thread")
	return cmd
}

func readRecording(file string) (replay.Recording, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return replay.Recording{}, fmt.Errorf("reading a recording: %w", err)
	}
	r, err := replay.Parse(raw)
	if err != nil {
		return r, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// replayFiles replays one after the other; what can't be replayed stops none of
// the others.
func replayFiles(ctx context.Context, files []string, out io.Writer) error {
	graphs, err := prebuilt.Development()
	if err != nil {
		return err
	}
	var failed error
	for _, file := range files {
		r, err := readRecording(file)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		report, err := replay.Again(ctx, r, replay.Options{Graphs: graphs})
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", file, err))
			continue
		}
		if !tellReport(out, file, report) && !errors.Is(failed, errDiffers) {
			failed = errors.Join(failed, errDiffers)
		}
	}
	return failed
}

func compareFiles(files []string, out io.Writer) error {
	if len(files) != 2 {
		return errors.New("--compare takes two recordings")
	}
	var sides [2]replay.Recording
	for i, file := range files {
		var err error
		if sides[i], err = readRecording(file); err != nil {
			return err
		}
		sides[i].Name = filepath.Base(file)
	}
	if !tellReport(out, strings.Join(files, " and "), replay.Compare(sides[0], sides[1])) {
		return errDiffers
	}
	return nil
}

// tellReport writes what was found and says whether both sides are the same.
func tellReport(out io.Writer, what string, r replay.Report) bool {
	word := "the same"
	if !r.Same() {
		word = "different"
	}
	fmt.Fprintf(out, "%s: %s\n", what, word)
	for line := range strings.Lines(r.String()) {
		fmt.Fprint(out, "  "+line)
	}
	return r.Same()
}
