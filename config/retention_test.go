package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestALifetimeIsMinutesOrHasAUnit(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"43200": 30 * 24 * time.Hour, "90m": 90 * time.Minute, "12h": 12 * time.Hour, "30d": 30 * 24 * time.Hour, "0": 0, "0d": 0, "1": time.Minute,
		"36525d": maxLifetime,
	} {
		cfg, problems := load(t, []string{"HEDDLE_CHECKPOINT_LIFETIME=" + text, "HEDDLE_EVENT_LIFETIME=" + text}, "")
		require.Empty(t, problems, text)
		require.Equal(t, Lifetime(want), cfg.Retention.Checkpoints, text)
		require.Equal(t, Lifetime(want), cfg.Retention.Events, text)
		var again Lifetime
		require.NoError(t, again.UnmarshalText([]byte(Lifetime(want).String())))
		require.Equal(t, Lifetime(want), again, text)
	}
	for _, text := range []string{"-1", "1.5h", "30s", "d", "30 days", "1h30m", "36526d", "99999999999", "4294967295d"} {
		_, problems := load(t, []string{"HEDDLE_EVENT_LIFETIME=" + text}, "")
		require.Equal(t, []string{"HEDDLE_EVENT_LIFETIME"}, names(problems), text)
	}
	cfg, problems := load(t, []string{}, "")
	require.Empty(t, problems)
	require.Zero(t, cfg.Retention.Checkpoints, "checkpoints stay unless somebody says how long")
	require.Equal(t, Lifetime(30*24*time.Hour), cfg.Retention.Events)
}

func TestAStrategyWithoutALifetimeIsRefused(t *testing.T) {
	for _, env := range [][]string{
		{"HEDDLE_CHECKPOINT_STRATEGY=delete"}, {"HEDDLE_CHECKPOINT_STRATEGY=keep_latest"},
		{"HEDDLE_CHECKPOINT_STRATEGY=delete", "HEDDLE_CHECKPOINT_LIFETIME=0"},
	} {
		_, problems := load(t, env, "")
		require.Equal(t, []string{"HEDDLE_CHECKPOINT_LIFETIME"}, names(problems), env)
		_, problems = load(t, production(env...), "")
		require.Equal(t, []string{"HEDDLE_CHECKPOINT_LIFETIME"}, names(problems), env)
	}
	for _, strategy := range []string{"delete", "keep_latest", ""} {
		_, problems := load(t, []string{"HEDDLE_CHECKPOINT_STRATEGY=" + strategy, "HEDDLE_CHECKPOINT_LIFETIME=30d"}, "")
		require.Empty(t, problems, strategy)
	}
	_, problems := load(t, []string{"HEDDLE_CHECKPOINT_STRATEGY=keep_all", "HEDDLE_CHECKPOINT_LIFETIME=30d", "HEDDLE_CHECKPOINT_KEEP=0", "HEDDLE_RETENTION_SWEEP=10s"}, "")
	require.ElementsMatch(t, []string{"HEDDLE_CHECKPOINT_STRATEGY", "HEDDLE_CHECKPOINT_KEEP", "HEDDLE_RETENTION_SWEEP"}, names(problems))
}
