//go:build linux

// Command bench measures Heddle beside the least that the same machine can do,
// in one interleaved run, so that its ratios mean something on a busy machine.
//
// Without a subcommand it is the driver: it starts a private PostgreSQL that
// syncs every commit, a real redis-server, and as children of itself the
// product ("serve", for some rows twice) and a bare WebSocket hub ("hub"); it
// measures them in turns and prints tables. docs/benchmarks.md says what the rows mean.
//
// Invariants: everything listens on loopback, lives in one temporary directory
// and ends with the driver; an answer is checked before its time counts; a lost
// or repeated number fails the run. Nothing imports this module. Linux only: it
// reads /proc and watches sockets with epoll.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	switch arguments := os.Args[1:]; {
	case len(arguments) > 0 && arguments[0] == childServe:
		err = serve(ctx)
	case len(arguments) > 0 && arguments[0] == childHub:
		err = serveHub(ctx)
	default:
		err = drive(ctx, arguments)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are the driver's flags.
type settings struct {
	rows    []string
	rounds  int
	clients []int
	sockets int
	profile string
	// statements lists what the product's statements cost, plans is what
	// plan_cache_mode its connections have.
	statements bool
	plans      string
}

// family is some rows that are measured together.
type family struct {
	name    string
	measure func(ctx context.Context, b *backing, s settings) error
}

// families lists all rows, in the order in which they are measured: those last
// that leave a machine busy.
func families() []family {
	return []family{
		{"runs", measureRuns}, {"queue", measureQueueLayer}, {"api", measureAPI}, {"fanout", measureFanout}, {"reviews", measureReviews}, {"engine", measureEngine},
		{"steps", measureSteps}, {"cancel", measureCancel}, {"recovery", measureRecovery},
	}
}

func names() string {
	var all []string
	for _, f := range families() {
		all = append(all, f.name)
	}
	return strings.Join(all, ",")
}

func readFlags(arguments []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	rows := flags.String("rows", names(), "what to measure")
	flags.IntVar(&s.rounds, "rounds", 3, "how often each contender is measured; the tables show medians")
	flags.IntVar(&s.sockets, "sockets", 1000, "sockets of the fan-out rows, 1 to 2000")
	clients := flags.String("clients", "1,16,64", "clients of the rows of runs, a level each")
	flags.StringVar(&s.profile, "profile", "", "directory for CPU profiles of the product, one per slice")
	flags.BoolVar(&s.statements, "statements", false, "list what each of the product's statements costs PostgreSQL in the rows of runs; slows them a little")
	flags.StringVar(&s.plans, "plans", "auto", "plan_cache_mode of the product's connections: auto, force_generic_plan, force_custom_plan")
	if err := flags.Parse(arguments); err != nil {
		return s, err
	}
	for text := range strings.SplitSeq(*clients, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > readers*socketsPerReader {
			return s, fmt.Errorf("-clients: %q must be 1 to %d", text, readers*socketsPerReader)
		}
		s.clients = append(s.clients, n)
	}
	s.rows = strings.Split(*rows, ",")
	for _, row := range s.rows {
		if !slices.ContainsFunc(families(), func(f family) bool { return f.name == row }) {
			return s, fmt.Errorf("-rows: %q must be one of %s", row, names())
		}
	}
	switch {
	case !slices.Contains([]string{"auto", "force_generic_plan", "force_custom_plan"}, s.plans):
		return s, errors.New("-plans: must be auto, force_generic_plan or force_custom_plan")
	case s.rounds < 1:
		return s, errors.New("-rounds: must be at least 1")
	case s.sockets < 1 || s.sockets > readers*socketsPerReader:
		return s, fmt.Errorf("-sockets: must be 1 to %d", readers*socketsPerReader)
	}
	return s, nil
}

func drive(ctx context.Context, arguments []string) (err error) {
	s, err := readFlags(arguments)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	began := time.Now()
	b, err := start(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	fmt.Printf("Heddle bench, %s\n", describeMachine(began))
	for _, f := range families() {
		if !slices.Contains(s.rows, f.name) {
			continue
		}
		if err := f.measure(ctx, b, s); err != nil {
			return fmt.Errorf("measuring %s: %w", f.name, err)
		}
	}
	fmt.Printf("\nTook %s.\n", time.Since(began).Round(time.Second))
	return nil
}
