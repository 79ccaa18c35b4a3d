package markdown

import (
	"html"
	"strings"
)

// Limits of one call. Text beyond them is shown plain, never dropped.
const (
	// MaxBytes bounds a text: what follows is shown as one plain block.
	MaxBytes = 1 << 20
	// MaxBlockBytes bounds a block that is parsed as Markdown.
	MaxBlockBytes = 128 << 10
	// maxDepth bounds containers opened on one line; maxRun bounds characters
	// that open inline constructs in one block, where parsing is worse than
	// linear.
	maxDepth = 24
	maxRun   = 4000
	// maxCells bounds a table, whose short rows are filled up to the width of
	// its head.
	maxCells = 20_000
	// maxIndent bounds leading blanks, and so the depth of lists spread over
	// many lines.
	maxIndent = 100
)

// tooComplex finds, in one pass, blocks whose parsing could cost more than
// their size warrants: deep nesting or masses of openers.
func tooComplex(src string) bool {
	if len(src) > MaxBlockBytes {
		return true
	}
	if strings.Count(src, "[")+strings.Count(src, "<") > maxRun ||
		strings.Count(src, "*")+strings.Count(src, "_")+strings.Count(src, "~") > 4*maxRun ||
		strings.Count(src, "|") > 8*maxRun || backtickRuns(src) > maxRun {
		return !onlyCode(src)
	}
	widest, lines := 0, 0
	for line := range strings.Lines(src) {
		widest, lines = max(widest, strings.Count(line, "|")), lines+1
	}
	if widest > 1 && widest*lines > maxCells {
		return !onlyCode(src)
	}
	for line := range strings.Lines(src) {
		if containers(line) > maxDepth || indent(line) > maxIndent {
			return !onlyCode(src)
		}
	}
	return false
}

// onlyCode reports that src is one fenced block, inside which nothing nests.
func onlyCode(src string) bool {
	first, _, _ := strings.Cut(src, "\n")
	f, ok := openFence(first, 3)
	if !ok {
		return false
	}
	rest := src[min(len(first)+1, len(src)):]
	for line := range strings.Lines(rest) {
		if f.closedBy(line) {
			return false
		}
	}
	return true
}

// containers counts the quote and list markers a line opens with.
func containers(line string) int {
	n := 0
	for {
		line = strings.TrimLeft(line, " \t")
		if rest, ok := strings.CutPrefix(line, ">"); ok {
			line = rest
		} else if w := listMarker(line); w > 0 {
			line = line[w:]
		} else {
			return n
		}
		n++
	}
}

func backtickRuns(src string) int {
	n := 0
	for i := range len(src) {
		if src[i] == '`' && (i == 0 || src[i-1] != '`') {
			n++
		}
	}
	return n
}

// plain shows text as it was written.
func plain(src string) HTML {
	return HTML{`<pre class="plain" tabindex="0">` + html.EscapeString(src) + "</pre>\n"}
}
