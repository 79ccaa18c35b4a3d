package run_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/run"
)

// A worker asks for as many runs as it has slots free, again as long as it gets them
// all.
func TestClaimsFillTheSlots(t *testing.T) {
	t.Parallel()
	claims := run.NewClaims(4)
	var asked []int
	var slots []*run.Slot
	fill := func(give ...int) error {
		asked = nil
		return claims.Fill(func(free int) ([]agents.Claimed, error) {
			asked = append(asked, free)
			n := give[0]
			give = give[1:]
			return make([]agents.Claimed, n), nil
		}, func(agents.Claimed) { slots = append(slots, claims.Take()) })
	}
	require.NoError(t, fill(0))
	require.Equal(t, []int{4}, asked)
	require.False(t, claims.Full(), "nothing waits for a slot")
	require.Zero(t, claims.Wait(), "and what comes is claimed at once")

	require.NoError(t, fill(3))
	require.Equal(t, []int{4}, asked)
	require.False(t, claims.Full())
	require.NoError(t, fill(1))
	require.Equal(t, []int{1}, asked, "until none is free")
	require.True(t, claims.Full())
	require.NoError(t, fill())
	require.Empty(t, asked)
	require.True(t, claims.Full(), "nobody knows what waits")

	lost := errors.New("lost")
	slots[0].Gone()
	<-claims.Freed()
	require.ErrorIs(t, claims.Fill(func(int) ([]agents.Claimed, error) { return nil, lost }, func(agents.Claimed) {}), lost)
	for _, s := range slots[1:] {
		s.Ending() // as many may be ending as may execute
	}
	require.NoError(t, fill(4))
	require.Equal(t, []int{4}, asked)
}
