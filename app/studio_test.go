package app

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
)

func TestBreakpointsOfAllRunsAreADevelopersAndNameNodes(t *testing.T) {
	t.Parallel()
	graphs := func(a *App, points agents.Breakpoints) error {
		a.o.Break = points
		_, _, err := a.graphs()
		return err
	}
	for _, known := range []agents.Breakpoints{{}, {Before: []string{"tools", "*"}}, {After: []string{"agent"}}} {
		require.NoError(t, graphs(configured(t), known))
	}
	require.ErrorContains(t, graphs(configured(t), agents.Breakpoints{Before: []string{"tools"}, After: []string{"toools"}}), `"toools": no graph has this node`)
	require.ErrorContains(t, graphs(configured(t, inProduction()...), agents.Breakpoints{Before: []string{"tools"}}), "HEDDLE_ENV=development")
	require.NoError(t, graphs(configured(t, inProduction()...), agents.Breakpoints{}))
}

func TestOnlyDevelopmentHasAStudio(t *testing.T) {
	t.Parallel()
	require.NotNil(t, configured(t).studio(nil, limitedRuns{}))
	require.Nil(t, configured(t, inProduction()...).studio(nil, limitedRuns{}))
	require.Nil(t, configured(t, inProduction("HEDDLE_ENV=staging")...).studio(nil, limitedRuns{}))
}
