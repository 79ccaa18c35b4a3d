package graph_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/graph"
)

var (
	ageV1 = graph.NewKey[string]("person", "age", 1)
	ageV2 = graph.Migrating(graph.NewKey[int]("person", "age", 2), ageV1, strconv.Atoi)
)

func aged(values map[string]string) graph.State {
	raw := map[string]json.RawMessage{}
	for k, v := range values {
		raw[k] = json.RawMessage(v)
	}
	return graph.NewState(nil, raw)
}

func TestVersionsOfASlotStandSideBySide(t *testing.T) {
	t.Parallel()
	require.Equal(t, "person:age:v1", ageV1.Name())
	g := compile(t, declared().Channels(ageV1, ageV2))
	s, _, err := g.Apply(graph.NewState(nil, nil), "l", 1, []graph.Write{ageV1.Set("41")})
	require.NoError(t, err)
	v2, ok, err := ageV2.Get(s)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, 41, v2, "what only version 1 wrote is read as version 2")
	s, _, err = g.Apply(s, "l", 2, []graph.Write{ageV2.Set(42)})
	require.NoError(t, err)
	v1, err := ageV1.Require(s)
	require.NoError(t, err)
	require.Equal(t, "41", v1, "old code still reads what it wrote")
	v2, err = ageV2.Require(s)
	require.NoError(t, err)
	require.Equal(t, 42, v2)
}

func TestASlotTellsMissingFromUnreadable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		state graph.State
		err   error
	}{
		"Missing":         {aged(nil), &graph.MissingError{Channel: "person:age:v2"}},
		"Unreadable":      {aged(map[string]string{"person:age:v2": `"x"`, "person:age:v1": `"41"`}), &graph.DecodeError{Channel: "person:age:v2"}},
		"UnreadableOld":   {aged(map[string]string{"person:age:v1": `7`}), &graph.DecodeError{Channel: "person:age:v1"}},
		"UnmigratableOld": {aged(map[string]string{"person:age:v1": `"old"`}), &graph.DecodeError{Channel: "person:age:v2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ageV2.Require(c.state)
			var unread *graph.DecodeError
			if errors.As(c.err, &unread) {
				var got *graph.DecodeError
				require.ErrorAs(t, err, &got)
				require.Equal(t, unread.Channel, got.Channel)
				return
			}
			require.Equal(t, c.err, err)
			_, ok, err := ageV2.Get(c.state)
			require.NoError(t, err)
			require.False(t, ok)
		})
	}
}

func TestAPrivateSlotIsHiddenAndMigrates(t *testing.T) {
	t.Parallel()
	hidden := ageV2.Private()
	require.Equal(t, "_person:age:v2", hidden.Name())
	v, err := hidden.Require(aged(map[string]string{"person:age:v1": `"5"`}))
	require.NoError(t, err)
	require.Equal(t, 5, v)
	require.Equal(t, "slot _person:age:v2 is empty", fmt.Sprint(&graph.MissingError{Channel: hidden.Name()}))
}
