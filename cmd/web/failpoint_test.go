package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The test binary is the product's own, see asCommand. Words are put together
// here, so that the test itself does not bring them. That a tagged build has them
// is for package internal/chaos to see.
func TestAnOrdinaryBuildHasNoFailPoints(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	binary, err := os.ReadFile(self)
	require.NoError(t, err)
	require.Contains(t, string(binary), "heddle_system", "the product is in this binary")
	for _, words := range [][]string{
		{"heddle", "failpoints", "are", "live"}, {"after", "claim"}, {"before", "journal"}, {"after", "tool"}, {"before", "commit"}, {"after", "commit"},
	} {
		require.False(t, bytes.Contains(binary, []byte(strings.Join(words, "-"))), "%v", words)
	}
	for _, words := range [][]string{{"CHAOS", "SKEW"}, {"CHAOS", "OFF"}} {
		require.False(t, bytes.Contains(binary, []byte(strings.Join(words, "_"))), "%v", words)
	}
}
