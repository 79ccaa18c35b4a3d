package app

import (
	"log/slog"

	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/realtime"
	"github.com/heddle/heddle/store"
)

// LogReader is what a hub reads the logs of threads with.
func LogReader(db *store.DB) realtime.LogReader { return logReader{db} }

// Watcher lets services wait on a hub.
func Watcher(hub *realtime.Hub) run.Watcher {
	return &wire{hub: hub, log: slog.New(slog.DiscardHandler)}
}
