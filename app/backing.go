package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/heddle/heddle/config"
	redisembedded "github.com/heddle/heddle/realtime/embedded"
	"github.com/heddle/heddle/store/embedded"
)

// Backing is the PostgreSQL and Redis a process uses: those the configuration
// names, those of a serving process on this machine, or its own.
type Backing struct {
	DatabaseURL, RedisURL string

	lock     *embedded.DirLock
	postgres *embedded.Server
	redis    *redisembedded.Server
	attached bool
}

// Provide finds or starts what the configuration doesn't name. A serving
// process owns the data directory and refuses to share it; every other command
// attaches to the serving process if there is one.
func Provide(ctx context.Context, cfg *config.Config, serving bool, log *slog.Logger) (*Backing, error) {
	b := &Backing{DatabaseURL: cfg.Storage.DatabaseURL.Reveal(), RedisURL: cfg.Storage.RedisURL.Reveal()}
	if b.DatabaseURL != "" && b.RedisURL != "" {
		return b, nil
	}
	if !serving {
		attached, err := b.attach(ctx, cfg.Server.DataDir)
		if attached || err != nil {
			return b, err
		}
	}
	if err := b.start(ctx, cfg, log); err != nil {
		b.Close(context.WithoutCancel(ctx), log)
		return nil, err
	}
	return b, nil
}

// attachLimit is how long a command waits for a serving process that starts.
const attachLimit = 30 * time.Second

// attach takes over the addresses of the process that serves from the data
// directory; false means that there is none.
func (b *Backing) attach(ctx context.Context, dir string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, attachLimit)
	defer cancel()
	for {
		run, err := embedded.ReadRun(dir)
		switch {
		case errors.Is(err, embedded.ErrNotRunning):
			return false, nil
		case errors.Is(err, embedded.ErrNotReady) && ctx.Err() == nil:
			pause(ctx, 200*time.Millisecond)
			continue
		case err != nil:
			return false, fmt.Errorf("attaching to the server of %s: %w", dir, err)
		}
		if b.DatabaseURL == "" {
			b.DatabaseURL = run.DatabaseURL
		}
		if b.RedisURL == "" {
			b.RedisURL = run.RedisURL
		}
		b.attached = true
		return true, nil
	}
}

func (b *Backing) start(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	var err error
	if b.lock, err = embedded.Lock(cfg.Server.DataDir); err != nil {
		return err
	}
	if b.DatabaseURL == "" {
		began := time.Now()
		b.postgres, err = embedded.Start(ctx, embedded.Options{Lock: b.lock, BinDir: cfg.Storage.PostgresBin, Log: log})
		if err != nil {
			return fmt.Errorf("starting the embedded PostgreSQL: %w", err)
		}
		b.DatabaseURL = b.postgres.URL()
		log.InfoContext(ctx, "embedded PostgreSQL is ready", "took", time.Since(began).Round(time.Millisecond))
	}
	if b.RedisURL == "" {
		if b.redis, err = redisembedded.Start(); err != nil {
			return fmt.Errorf("starting the embedded Redis: %w", err)
		}
		b.RedisURL = b.redis.URL()
	}
	return nil
}

// Announce tells the other commands of this machine how to reach what runs here.
func (b *Backing) Announce(baseURL string) error {
	if b.lock == nil {
		return nil
	}
	return b.lock.WriteRun(embedded.RunFile{DatabaseURL: b.DatabaseURL, RedisURL: b.RedisURL, BaseURL: baseURL})
}

// Died is closed when the embedded PostgreSQL is gone for good; nil, which
// blocks for ever, when there is none.
func (b *Backing) Died() <-chan struct{} {
	if b.postgres == nil {
		return nil
	}
	return b.postgres.Done()
}

// Cause says why the embedded PostgreSQL is gone, once Died is closed; nil when
// it was asked to stop.
func (b *Backing) Cause() error {
	if b.postgres == nil {
		return nil
	}
	return b.postgres.Err()
}

// Close stops what was started, the database last.
func (b *Backing) Close(ctx context.Context, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var errs []error
	if b.redis != nil {
		b.redis.Close()
	}
	if b.postgres != nil {
		errs = append(errs, b.postgres.Stop(ctx))
	}
	if b.lock != nil {
		errs = append(errs, b.lock.RemoveRun(), b.lock.Release())
	}
	if err := errors.Join(errs...); err != nil {
		log.WarnContext(ctx, "the embedded servers did not stop cleanly", "err", err)
	}
}
