package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/fault"
)

func requireKind(t *testing.T, kind fault.Kind, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, kind, fault.KindOf(err), "%v", err)
}
