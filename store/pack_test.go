package store

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatIsPackedIsReadBackByteForByte(t *testing.T) {
	t.Parallel()
	const thread, run = "01a215d3-5c23-70dd-9800-a5ab9ba4d4cb", "01a215d3-5c5d-747a-952e-6703f6a0113b"
	p := newPacks()
	for name, bodies := range map[string][]string{
		"One":   {`{"type":"RUN_STARTED","thread_id":"` + thread + `","run_id":"` + run + `","data":{"threadId":"` + thread + `"}}`},
		"Three": {`{"type":"STEP_STARTED","data":{}}`, `{"type":"X","data":{"delta":"ü 🧵 \u0001\n ` + run + thread + `"}}`, `{}`},
		"Large": {`{"type":"A","data":"` + strings.Repeat("words and words ", 100_000) + `"}`, `{"type":"B"}`},
	} {
		packed, err := p.pack(thread, run, bodies)
		require.NoError(t, err, name)
		got, err := p.unpack(thread, run, packed)
		require.NoError(t, err, name)
		require.Equal(t, bodies, got, name)
		from := int64(7)
		rows, err := p.unfold(logRow{From: from, Seq: from + int64(len(bodies)) - 1, RunID: ptr(run), Pack: packed}, thread, from)
		require.NoError(t, err)
		require.Len(t, rows, len(bodies)-1, "what is known already is left out")
		_, err = p.unfold(logRow{From: from, Seq: from + int64(len(bodies)), Pack: packed}, thread, 0)
		require.ErrorContains(t, err, "envelopes")
	}
	alone, err := p.pack(thread, "", []string{`{"thread_id":"` + thread + `"}`})
	require.NoError(t, err)
	got, err := p.unpack(thread, "", alone)
	require.NoError(t, err)
	require.Equal(t, []string{`{"thread_id":"` + thread + `"}`}, got)
	for _, bad := range [][]byte{nil, {9, 1, 2}, {packVersion, 0xff, 0xff}} {
		_, err := p.unpack(thread, run, bad)
		require.Error(t, err)
	}
}

// What is stored must be readable for ever: this row was written by the first
// version.
func TestTheFirstFormOfPacksIsReadForEver(t *testing.T) {
	t.Parallel()
	first, err := hex.DecodeString("011adcf14b6aa9636e6040b32c9c6b8854e678a4e6e4e42bd5d602020000ffff")
	require.NoError(t, err)
	got, err := newPacks().unpack("01a215d3-5c23-70dd-9800-a5ab9ba4d4cb", "01a215d3-5c5d-747a-952e-6703f6a0113b", first)
	require.NoError(t, err)
	require.Equal(t, []string{
		`{"type":"STEP_STARTED","ts":"2026-01-02T03:04:05.678Z","thread_id":"01a215d3-5c23-70dd-9800-a5ab9ba4d4cb","run_id":"01a215d3-5c5d-747a-952e-6703f6a0113b","attempt":1,"step":2,"node":"agent","data":{"stepName":"agent"}}`,
		`{"type":"TEXT_MESSAGE_CONTENT","ts":"2026-01-02T03:04:05.700Z","thread_id":"01a215d3-5c23-70dd-9800-a5ab9ba4d4cb","run_id":"01a215d3-5c5d-747a-952e-6703f6a0113b","attempt":1,"step":2,"node":"agent","data":{"messageId":"m1","delta":"Hello"}}`,
	}, got)
}

func ptr[T any](v T) *T { return &v }
