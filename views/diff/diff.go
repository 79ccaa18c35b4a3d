// Package diff tells two texts apart word by word, and shows the difference:
// what is new as <ins> with a plus, what is gone as <del> with a minus, both
// named for screen readers, so that colour alone says nothing.
//
// [Words] is pure; the component is in diff.templ. Views and handlers may
// import it.
package diff

import (
	"strings"
	"time"
	"unicode"

	"github.com/sergi/go-diff/diffmatchpatch"
)

// Kind says what became of a part.
type Kind string

// The kinds.
const (
	Same Kind = "same"
	Ins  Kind = "ins"
	Del  Kind = "del"
)

// Part is a stretch of text of one kind.
type Part struct {
	Kind Kind
	Text string
}

// mark is what stands in the coloured part: without the last line's end, which
// would begin a coloured line of nothing. A change of white space alone is made
// visible.
func (p Part) mark() string {
	if strings.TrimSpace(p.Text) == "" {
		return strings.NewReplacer("\n", "↵", " ", "␣").Replace(p.Text)
	}
	return strings.TrimSuffix(p.Text, "\n")
}

// tail is the line's end that mark leaves out.
func (p Part) tail() string {
	if strings.HasSuffix(p.Text, "\n") {
		return "\n"
	}
	return ""
}

// limit bounds the search for the smallest difference; beyond it the parts are
// still right, only larger.
const limit = 250 * time.Millisecond

// maxWords bounds how many different words are told apart: each is one
// character of the library's alphabet.
const maxWords = 50_000

// Words compares two texts word by word. The parts of kind Same and Del are
// old, those of Same and Ins are new; nothing is left out.
func Words(before, after string) []Part {
	if before == after {
		if before == "" {
			return nil
		}
		return []Part{{Same, before}}
	}
	alphabet := words{byWord: map[string]rune{}}
	a, b := alphabet.encode(before), alphabet.encode(after)
	if len(alphabet.list) > maxWords {
		return whole(before, after)
	}
	engine := diffmatchpatch.New()
	engine.DiffTimeout = limit
	var out []Part
	for _, d := range engine.DiffCleanupMerge(engine.DiffMainRunes(a, b, false)) {
		kind := Same
		switch d.Type {
		case diffmatchpatch.DiffInsert:
			kind = Ins
		case diffmatchpatch.DiffDelete:
			kind = Del
		}
		if text := alphabet.decode(d.Text); text != "" {
			out = append(out, Part{kind, text})
		}
	}
	return readable(out)
}

// Changed reports whether parts tell of any difference.
func Changed(parts []Part) bool {
	for _, p := range parts {
		if p.Kind != Same {
			return true
		}
	}
	return false
}

func whole(before, after string) []Part {
	var out []Part
	if before != "" {
		out = append(out, Part{Del, before})
	}
	if after != "" {
		out = append(out, Part{Ins, after})
	}
	return out
}

// readable joins changes that only white space stands between: a rewritten
// sentence reads as one deletion and one insertion, not as a ladder of words.
func readable(parts []Part) []Part {
	var out []Part
	for i := 0; i < len(parts); {
		if parts[i].Kind == Same {
			out = append(out, parts[i])
			i++
			continue
		}
		var del, ins strings.Builder
		for i < len(parts) {
			p := parts[i]
			gap := p.Kind == Same && strings.TrimSpace(p.Text) == "" && !strings.Contains(p.Text, "\n") &&
				i+1 < len(parts) && parts[i+1].Kind != Same
			if p.Kind == Same && !gap {
				break
			}
			if p.Kind != Ins {
				del.WriteString(p.Text)
			}
			if p.Kind != Del {
				ins.WriteString(p.Text)
			}
			i++
		}
		out = append(out, whole(del.String(), ins.String())...)
	}
	return out
}

// words maps words to characters, so that an algorithm on characters works on
// words.
type words struct {
	byWord map[string]rune
	list   []string
}

func (w *words) encode(text string) []rune {
	var out []rune
	for _, word := range split(text) {
		r, known := w.byWord[word]
		if !known {
			r = letter(len(w.list))
			w.byWord[word] = r
			w.list = append(w.list, word)
		}
		out = append(out, r)
	}
	return out
}

func (w *words) decode(text string) string {
	var b strings.Builder
	for _, r := range text {
		b.WriteString(w.list[number(r)])
	}
	return b.String()
}

// surrogates are no characters; letters step over them.
const (
	surrogateFirst = 0xD800
	surrogateCount = 0x800
)

func letter(n int) rune {
	r := rune(n + 1)
	if r >= surrogateFirst {
		r += surrogateCount
	}
	return r
}

func number(r rune) int {
	if r >= surrogateFirst {
		r -= surrogateCount
	}
	return int(r) - 1
}

// split cuts a text into words, runs of white space and single other signs; the
// pieces put together are the text. A line's end is a piece of its own.
func split(text string) []string {
	var out []string
	start, last := 0, -1
	for i, r := range text {
		kind := class(r)
		if (r == '.' || r == ',') && i > 0 && digit(text[i-1]) && i+1 < len(text) && digit(text[i+1]) {
			kind = classWord // 0.7 and 10,000 are words
		}
		if i > start && (kind != last || kind == classSign || kind == classLine) {
			out = append(out, text[start:i])
			start = i
		}
		last = kind
	}
	if start < len(text) {
		out = append(out, text[start:])
	}
	return out
}

const (
	classWord = iota
	classSpace
	classLine
	classSign
)

func digit(b byte) bool { return '0' <= b && b <= '9' }

func class(r rune) int {
	switch {
	case r == '\n':
		return classLine
	case unicode.IsSpace(r):
		return classSpace
	case unicode.IsLetter(r), unicode.IsDigit(r), unicode.Is(unicode.Mn, r), r == '_', r == '\'', r == '’':
		return classWord
	default:
		return classSign
	}
}
