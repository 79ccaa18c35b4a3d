package realtime

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestABundleIsReadAsWhatWentIntoIt(t *testing.T) {
	t.Parallel()
	var all []Message
	for i, payload := range []string{`{}`, `{"a":"* 12 b"}`, "{\n\t\"pretty\": [1, 2]\n}", `"` + strings.Repeat("long ", maxBundle/8) + `"`, `"ü 🧵"`, `null`} {
		all = append(all,
			Message{Event: "envelope", Seq: int64(3*i + 2), From: int64(3*i + 1), Epoch: "e1", Payload: []byte(payload)},
			Message{Event: "envelope", Seq: int64(3*i + 3), Epoch: "e1", Payload: []byte(payload)},
			Message{Event: "notice", Payload: []byte(payload)})
	}
	for n := range len(all) + 1 {
		var got []Message
		bodies := bundles(all[:n])
		for _, body := range bodies {
			ms, err := unbundle(body)
			require.NoError(t, err)
			require.True(t, len(ms) == 1 || len(body) < maxBundle+24*len(ms), "%d messages in %d bytes", len(ms), len(body))
			got = append(got, ms...)
		}
		require.Len(t, got, n)
		for i, m := range got {
			require.Equal(t, all[i].Event, m.Event)
			require.Equal(t, all[i].Seq, m.Seq)
			require.Equal(t, all[i].First(), m.First())
			require.Equal(t, all[i].Epoch, m.Epoch)
			require.True(t, bytes.Equal(all[i].Payload, m.Payload))
		}
	}
	require.Len(t, bundles(all[:6]), 1, "what is short goes at once")
	require.Greater(t, len(bundles(all)), 2, "what is long does not")
}

func TestABundleThatIsCutIsRefused(t *testing.T) {
	t.Parallel()
	body := bundles([]Message{{Event: "a", Seq: 1, Epoch: "e", Payload: []byte(`{}`)}, {Event: "b", Seq: 2, Epoch: "e", Payload: []byte(`{"x":1}`)}})[0]
	whole, err := unbundle(body)
	require.NoError(t, err)
	require.Len(t, whole, 2)
	for n := 2; n < len(body); n++ {
		if ms, err := unbundle(body[:n]); err == nil {
			require.Len(t, ms, 1, "cut after %d bytes, between two messages", n)
		}
	}
	for _, bad := range []string{"", "*x", "*-1 a 0 - {}", "*999 a 0 - {}", "*3 a 0", "* a 0 - {}", fmt.Sprintf("*%d ", 1<<40)} {
		_, err := unbundle([]byte(bad))
		require.Error(t, err, bad)
	}
}
