//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/heddle/heddle/store/embedded"
)

// startLimit bounds the start of each server, in crowded runs too.
const startLimit = time.Minute

// backing is what the contenders share: one PostgreSQL, one Redis.
type backing struct {
	dir      string
	plans    string // plan_cache_mode of the product's connections
	postgres *embedded.Server
	redis    *child
	redisAt  string
}

// start starts PostgreSQL with the settings people get (every commit is synced)
// and redis-server, both in one temporary directory.
func start(ctx context.Context, s settings) (*backing, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	dir, err := os.MkdirTemp("", "heddle-bench-")
	if err != nil {
		return nil, fmt.Errorf("making a directory: %w", err)
	}
	b := &backing{dir: dir, plans: s.plans}
	if err := b.fill(ctx, s.statements); err != nil {
		return nil, errors.Join(err, b.stop())
	}
	return b, nil
}

func (b *backing) fill(ctx context.Context, statements bool) error {
	// PostgreSQL refuses root, so it must be able to pass through as another.
	if err := os.Chmod(b.dir, 0o711); err != nil {
		return fmt.Errorf("opening the directory: %w", err)
	}
	settings := map[string]string{"max_connections": "200"}
	if statements {
		settings["shared_preload_libraries"] = "pg_stat_statements"
		settings["pg_stat_statements.track_planning"] = "on"
		settings["pg_stat_statements.track"] = "all" // what foreign keys look up, too
	}
	var err error
	b.postgres, err = embedded.Start(ctx, embedded.Options{DataDir: filepath.Join(b.dir, "postgres"), Log: logger(), Settings: settings})
	if err != nil {
		return err
	}
	if statements {
		if err := b.watchStatements(ctx); err != nil {
			return err
		}
	}
	return b.startRedis(ctx)
}

// postgresCPU gives the seconds that PostgreSQL has used so far.
func (b *backing) postgresCPU() float64 {
	line, _, _ := strings.Cut(readFile(filepath.Join(b.dir, "postgres", "postgres", "postmaster.pid")), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		return 0 // it restarts; the next slice tells
	}
	return cpuOfFamily(pid)
}

// productURL is the database's address for the product.
func (b *backing) productURL() string { return b.postgres.URL() + "&plan_cache_mode=" + b.plans }

func (b *backing) startRedis(ctx context.Context) error {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("redis-server is not installed (make setup-test installs it): %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("finding a free port: %w", err)
	}
	b.redisAt = listener.Addr().String()
	_, port, _ := net.SplitHostPort(b.redisAt)
	if err := listener.Close(); err != nil {
		return fmt.Errorf("freeing the port: %w", err)
	}
	b.redis, err = spawn(program, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", b.dir,
		"--client-output-buffer-limit", "pubsub 256mb 128mb 60")
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		conn, err := net.DialTimeout("tcp", b.redisAt, time.Second)
		if err == nil {
			return conn.Close()
		}
		if !b.redis.alive() {
			return fmt.Errorf("redis-server ended: %s", b.redis.said())
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("waiting for redis-server: %w", ctx.Err())
}

// stop ends both servers and removes their files.
func (b *backing) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	var errs []error
	if b.redis != nil {
		errs = append(errs, b.redis.stop())
	}
	if b.postgres != nil {
		errs = append(errs, b.postgres.Stop(ctx))
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

func logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// describeMachine says where and when figures were taken.
func describeMachine(at time.Time) string {
	cpu := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		cores := strings.Count(string(text), "\nmodel name") + strings.Count(string(text[:min(len(text), 10)]), "model name")
		if _, rest, ok := strings.Cut(string(text), "model name\t: "); ok {
			name, _, _ := strings.Cut(rest, "\n")
			cpu = fmt.Sprintf("%d cores, %s", cores, name)
		}
	}
	load, _, _ := strings.Cut(readFile("/proc/loadavg"), " ")
	return fmt.Sprintf("%s, %s, load before %s", at.Format(time.DateOnly), cpu, load)
}

func readFile(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(text)
}
