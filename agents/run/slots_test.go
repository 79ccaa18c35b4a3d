package run_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/run"
)

func TestARunThatEndsLeavesItsSlotToTheNext(t *testing.T) {
	t.Parallel()
	s := run.NewSlots(3)
	require.Equal(t, 3, s.Free())
	held := []*run.Slot{s.Take(), s.Take(), s.Take()}
	require.Zero(t, s.Free())
	for _, slot := range held {
		slot.Ending()
		slot.Ending()
	}
	require.Equal(t, 3, s.Free(), "their ends are being written")
	<-s.Freed()
	more := []*run.Slot{s.Take(), s.Take(), s.Take()}
	more[0].Ending()
	require.Zero(t, s.Free(), "as many may be ending as may execute")
	held[0].Gone()
	held[0].Gone()
	held[0].Ending()
	require.Equal(t, 1, s.Free())
	for _, slot := range append(held, more...) {
		slot.Gone()
	}
	require.Equal(t, 3, s.Free())
	require.Equal(t, 1, run.NewSlots(0).Free())
}
