// Command chaos carries out the fault protocol and prints its report; make chaos
// runs it. The exit code is 1 when a promise was broken.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/redis/go-redis/v9"

	"github.com/heddle/heddle/internal/chaos"
)

func main() {
	seed := flag.Uint64("seed", 0, "what the plan of faults is made from; 0 chooses one")
	tier := flag.String("tier", "short", "short (a minute, 50 runs) or long (ten minutes, 500 runs)")
	off := flag.String("off", "", "take a promise away, to see the protocol fail: fencing, journal or replay")
	report := flag.String("report", "", "also write the report to this `file`")
	keep := flag.Bool("keep", false, "keep the logs of the nodes")
	flag.Parse()
	if *seed == 0 {
		*seed = rand.Uint64N(1_000_000) + 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := run(ctx, *seed, *tier, *off, *report, *keep)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// quiet takes what the Redis client says about a server that was killed.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func run(ctx context.Context, seed uint64, tierName, off, file string, keep bool) (err error) {
	redis.SetLogger(quiet{})
	tier, ok := map[string]chaos.Tier{"short": chaos.Short(), "long": chaos.Long()}[tierName]
	if !ok {
		return fmt.Errorf("-tier: must be short or long, not %q", tierName)
	}
	plan := chaos.NewPlan(seed, tier)
	if off != "" {
		if tier, plan, ok = chaos.Control(off); !ok {
			return fmt.Errorf("-off: must be fencing, journal or replay, not %q", off)
		}
	}
	dir, err := os.MkdirTemp("", "heddle-chaos-")
	if err != nil {
		return err
	}
	if keep {
		fmt.Println("files are in", dir)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	node := filepath.Join(dir, "node")
	build := exec.CommandContext(ctx, "go", "build", "-tags", "chaos", "-o", node, "./internal/chaos/node")
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building the node: %w", err)
	}
	fmt.Printf("seed %d, tier %s\n", plan.Seed, tier.Name)
	found, err := chaos.Run(ctx, chaos.Options{Binary: node, Tier: tier, Plan: plan, Off: off, Log: os.Stdout, Dir: dir})
	if err != nil {
		return err
	}
	text := found.Markdown()
	fmt.Println(text)
	if file != "" {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if !found.Passed() {
		return fmt.Errorf("%d violations, seed %d", len(found.Violations), plan.Seed)
	}
	return nil
}
