package diff

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDifferencesAreOfWords(t *testing.T) {
	for name, c := range map[string]struct {
		before, after string
		want          []Part
	}{
		"nothing":          {"", "", nil},
		"the same":         {"a b", "a b", []Part{{Same, "a b"}}},
		"new":              {"", "a b", []Part{{Ins, "a b"}}},
		"gone":             {"a b", "", []Part{{Del, "a b"}}},
		"a word":           {"Answer briefly.", "Answer politely.", []Part{{Same, "Answer "}, {Del, "briefly"}, {Ins, "politely"}, {Same, "."}}},
		"words in a row":   {"Answer very briefly now.", "Answer most politely now.", []Part{{Same, "Answer "}, {Del, "very briefly"}, {Ins, "most politely"}, {Same, " now."}}},
		"a line":           {"one\ntwo\n", "one\nthree\ntwo\n", []Part{{Same, "one\n"}, {Ins, "three\n"}, {Same, "two\n"}}},
		"letters of words": {"Größe 10", "Größen 10", []Part{{Del, "Größe"}, {Ins, "Größen"}, {Same, " 10"}}},
		"signs":            {"20%", "25%", []Part{{Del, "20"}, {Ins, "25"}, {Same, "%"}}},
		"numbers":          {"0.7, 2,000.", "0.2, 2,000.", []Part{{Del, "0.7"}, {Ins, "0.2"}, {Same, ", 2,000."}}},
		"not UTF-8":        {"a \xff b", "a b", nil},
	} {
		got := Words(c.before, c.after)
		if name == "not UTF-8" {
			require.True(t, Changed(got))
			continue
		}
		require.Equal(t, c.want, got, name)
		require.Equal(t, c.before != c.after, Changed(got), name)
	}
}

// TestNothingIsLostOrInvented puts both texts together again from the parts.
func TestNothingIsLostOrInvented(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	vocabulary := strings.Split("the a reviewer  decides,on every\ncall <b> 日本 🧵 e\u0301 — ’s", "")
	text := func() string {
		var b strings.Builder
		for range rnd.IntN(60) {
			b.WriteString(vocabulary[rnd.IntN(len(vocabulary))])
		}
		return b.String()
	}
	for range 400 {
		before, after := text(), text()
		check(t, before, after)
	}
	// More different words than there are characters below the surrogates.
	var long strings.Builder
	for i := range 60_000 {
		long.WriteString(strings.Repeat("x", i%7+1))
		long.WriteRune(rune('a' + i%26))
		long.WriteString(string(rune(0x4e00 + i%20_000)))
		long.WriteByte(' ')
	}
	check(t, long.String(), "tail "+long.String())
}

func check(t *testing.T, before, after string) {
	t.Helper()
	var a, b strings.Builder
	for _, p := range Words(before, after) {
		require.NotEmpty(t, p.Text)
		if p.Kind != Ins {
			a.WriteString(p.Text)
		}
		if p.Kind != Del {
			b.WriteString(p.Text)
		}
	}
	require.Equal(t, before, a.String())
	require.Equal(t, after, b.String())
}
