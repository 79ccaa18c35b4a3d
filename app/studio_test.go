package app

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOnlyDevelopmentHasAStudio(t *testing.T) {
	t.Parallel()
	require.NotNil(t, configured(t).studio(nil, limitedRuns{}))
	require.Nil(t, configured(t, inProduction()...).studio(nil, limitedRuns{}))
	require.Nil(t, configured(t, inProduction("HEDDLE_ENV=staging")...).studio(nil, limitedRuns{}))
}
