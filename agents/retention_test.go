package agents_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/fault"
)

func TestALifetimeThatCouldRemoveNothingOrTooMuchIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		retention agents.Retention
		wrong     []string
	}{
		"nothing lives its time": {agents.Retention{Keep: 1}, nil},
		"no strategy":            {agents.Retention{Keep: 1, Checkpoints: time.Hour}, nil},
		"a strategy":             {agents.Retention{Keep: 1, Checkpoints: time.Hour, Strategy: agents.DeleteThread}, nil},
		"no lifetime":            {agents.Retention{Keep: 1, Strategy: agents.KeepLatest, Events: time.Hour}, []string{"checkpoints"}},
		"nobody knows it":        {agents.Retention{Keep: 1, Checkpoints: time.Hour, Strategy: "archive"}, []string{"strategy"}},
		"the newest would go":    {agents.Retention{Checkpoints: time.Hour}, []string{"keep"}},
		"in the future":          {agents.Retention{Keep: -1, Checkpoints: -1, Events: -1}, []string{"checkpoints", "events", "keep"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.retention.Check()
			if c.wrong == nil {
				require.NoError(t, err)
				return
			}
			require.True(t, fault.Is(err, fault.KindInvalid))
			require.Equal(t, c.wrong, slices.Sorted(maps.Keys(fault.FieldsOf(err))))
		})
	}
}

func TestWhatIsTooOldAtAMoment(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		retention agents.Retention
		want      agents.Cuts
	}{
		"nothing":          {agents.Retention{Keep: 1, Strategy: ""}, agents.Cuts{Keep: 1, Now: now}},
		"old events":       {agents.Retention{Keep: 1, Events: time.Hour}, agents.Cuts{Keep: 1, Now: now, Events: now.Add(-time.Hour)}},
		"old checkpoints":  {agents.Retention{Keep: 7, Checkpoints: time.Hour}, agents.Cuts{Keep: 7, Now: now, Checkpoints: now.Add(-time.Hour)}},
		"the same, said":   {agents.Retention{Keep: 7, Checkpoints: time.Hour, Strategy: agents.KeepLatest}, agents.Cuts{Keep: 7, Now: now, Checkpoints: now.Add(-time.Hour)}},
		"threads, not one": {agents.Retention{Keep: 1, Checkpoints: time.Hour, Strategy: agents.DeleteThread}, agents.Cuts{Keep: 1, Now: now, Threads: now.Add(-time.Hour)}},
	} {
		require.Equal(t, c.want, c.retention.At(now), name)
	}
}
