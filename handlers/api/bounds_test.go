package api

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/fault"
)

func entries(n int) string { return "[" + strings.TrimSuffix(strings.Repeat(`"x",`, n), ",") + "]" }

func TestBoundsNameTheFieldAndTheRule(t *testing.T) {
	t.Parallel()
	for body, field := range map[string]string{
		`{}`: "", `[]`: "", `null`: "", `7`: "", `"a,b,[{"`: "", `{"a":"\"],[,,","b\\":[1]}`: "",
		entries(100): "", entries(101): "body", " " + entries(101): "body",
		`{"ids":` + entries(1000) + `}`: "", `{"ids":` + entries(1001) + `}`: "ids",
		`{"x":{"ids":` + entries(1001) + `}}`:                         "",
		`{"input":{"messages":` + entries(1001) + `}}`:                "input.messages",
		`[{"input":{"messages":` + entries(1001) + `}}]`:              "input.messages",
		`{"a":[[],` + entries(10_001) + `]}`:                          "a",
		`{"a":{"b":{"c":{"d":` + entries(10_001) + `}}}}`:             "a.b.c.d",
		`{"a":[{"b":1},{"c":` + entries(10_001) + `}]}`:               "a.c",
		`{"a":1,"select":` + entries(101) + `}`:                       "select",
		strings.Repeat("[", 256) + strings.Repeat("]", 256):           "",
		strings.Repeat("[", 257) + strings.Repeat("]", 257):           "body",
		`{"a":"` + strings.Repeat("[", 300) + `"}`:                    "",
		`{"a":[` + strings.Repeat(`{"k":[]},`, 9_999) + `{"k":[]}]}`:  "",
		`{"a":[` + strings.Repeat(`{"k":[]},`, 10_000) + `{"k":[]}]}`: "a",
	} {
		require.True(t, json.Valid([]byte(body)))
		err := bounded([]byte(body))
		if field == "" {
			require.NoError(t, err, "%.60s", body)
			continue
		}
		require.Contains(t, fault.FieldsOf(err), field, "%.60s", body)
	}
}

// FuzzBounded walks over any JSON without leaving it, and agrees with a decoder
// about how deep it is.
func FuzzBounded(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":"\\\""}]}`, `[[[]]]`, `"\u005b"`, entries(101)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) {
			return
		}
		err := bounded(body)
		if err != nil && len(body) < 200 {
			t.Fatalf("%q: %v", body, err)
		}
	})
}

func BenchmarkBounds(b *testing.B) {
	var body strings.Builder
	body.WriteString(`{"assistant_id":"echo","input":{"messages":[`)
	for i := range 20 {
		body.WriteString(`{"role":"user","id":"` + strconv.Itoa(i) + `","content":[{"type":"text","text":"how do we ship on friday?"}]},`)
	}
	body.WriteString(`{"role":"user","content":"x"}]},"stream_mode":["values","messages-tuple"]}`)
	raw := []byte(body.String())
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if err := bounded(raw); err != nil {
			b.Fatal(err)
		}
	}
}
