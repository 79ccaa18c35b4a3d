//go:build chaos

// Command node is one node of the fault protocol: the product itself as package
// app composes it, with tools that reach the protocol's tool server and a
// control port on the loopback by which fail points are armed. It exists only
// with the build tag chaos; package chaos builds and starts it.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.uber.org/goleak"

	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/config"
	"github.com/heddle/heddle/internal/failpoint"
)

// exitLeak is the code of a node that left something behind at its end.
const exitLeak = 7

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := serve(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
	if err := errors.Join(goroutines(), children()); err != nil {
		fmt.Fprintln(os.Stderr, "node: left behind:", err)
		os.Exit(exitLeak)
	}
}

func serve(ctx context.Context) error {
	cfg, err := config.Load(config.Options{})
	if err != nil {
		return err
	}
	key, err := config.DecodeKey(cfg.Server.SecretKey)
	if err != nil {
		return err
	}
	endControl, err := control(os.Getenv("CHAOS_CONTROL"))
	if err != nil {
		return err
	}
	defer endControl()
	outside := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 20}}
	defer outside.CloseIdleConnections()
	tools, err := toolsAt(os.Getenv("CHAOS_TOOLS"), outside)
	if err != nil {
		return err
	}
	a, err := app.New(ctx, app.Options{
		Config: cfg, DatabaseURL: cfg.Storage.DatabaseURL.Reveal(), RedisURL: cfg.Storage.RedisURL.Reveal(), SecretKey: key,
		Version: "chaos", Logger: cfg.Log.Logger(os.Stderr, "heddle"), Tools: tools,
	})
	if err != nil {
		return err
	}
	defer a.Close()
	return a.Serve(ctx, nil)
}

// control serves the fail points' handler until the function it gives is called.
func control(addr string) (func(), error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening for control: %w", err)
	}
	server := &http.Server{Handler: failpoint.Handler(), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // ends with Close
	}()
	return func() {
		_ = server.Close()
		<-ended
	}, nil
}

// goroutines looks for those that should have ended with the server.
func goroutines() error {
	return goleak.Find(
		// These end by themselves, after their next round.
		goleak.IgnoreAnyFunction("github.com/dlclark/regexp2/v2.runClock"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("os/signal.signal_recv"), goleak.IgnoreAnyFunction("os/signal.loop"))
}

// children looks for processes of this one, where the system tells.
func children() error {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		if pids, err := os.ReadFile(list); err == nil && strings.TrimSpace(string(pids)) != "" {
			return fmt.Errorf("child processes %s", pids)
		}
	}
	return nil
}
