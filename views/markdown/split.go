package markdown

import "strings"

// Block is a stretch of source that is rendered on its own: one or more
// top-level elements that no later text can reach into.
type Block struct {
	// Index counts the blocks of a text from 0.
	Index int
	// Source is the Markdown, without the blank lines around it.
	Source string
}

// Split cuts a text that may still grow. closed blocks are final: whatever is
// appended to src, Split gives the same ones first. open is the rest, rendered
// again as it grows; its Index is len(closed) and its Source may be empty.
//
// Only lines that have ended count, and a cut needs a blank line outside any
// fence. After a list or indented code the next line must also have ended and
// be one that cannot continue it. Where in doubt the block stays open: a block
// that holds two elements looks the same as two blocks.
func Split(src string) (closed []Block, open Block) {
	s := splitter{}
	rest := src
	for len(rest) > 0 && len(src)-len(rest) < MaxBytes {
		end := strings.IndexByte(rest, '\n')
		if end < 0 {
			break
		}
		s.line(rest[:end+1], len(src)-len(rest))
		rest = rest[end+1:]
	}
	for i, at := range s.cuts {
		closed = append(closed, Block{Index: i, Source: trimBlank(src[at.from:at.to])})
	}
	return closed, Block{Index: len(closed), Source: trimBlank(src[s.start:])}
}

// All cuts a text that is complete. It gives what Split closed, then the rest.
func All(src string) []Block {
	closed, open := Split(src)
	if open.Source != "" {
		closed = append(closed, open)
	}
	return closed
}

type span struct{ from, to int }

// splitter reads a text line by line.
type splitter struct {
	cuts  []span
	start int  // where the present block begins
	end   int  // past its last line that is not blank
	begun bool // the present block has a line
	blank bool // the line before was blank
	// sticky: the block holds a list or indented code, which blank lines do
	// not end.
	sticky bool
	fence  fence
}

func (s *splitter) line(line string, at int) {
	if strings.TrimSpace(line) == "" {
		s.blank = s.begun
		if s.begun && s.fence.size == 0 && !s.sticky {
			s.cut(at + len(line))
		}
		return
	}
	if s.begun && s.blank && s.sticky && s.fence.size == 0 && !continues(line) {
		s.cut(at)
	}
	s.blank = false
	if !s.begun {
		s.begun, s.start = true, at
	}
	s.end = at + len(line)
	if s.fence.size > 0 {
		if s.fence.closedBy(line) {
			s.fence = fence{}
		}
		return
	}
	body, limit := line, 3
	if w := markers(line); w > 0 {
		s.sticky, body = true, line[w:]
	}
	if s.sticky {
		limit = maxIndent
	}
	if f, ok := openFence(body, limit); ok {
		s.fence = f
		return
	}
	if indent(line) >= 4 {
		s.sticky = true
	}
}

func (s *splitter) cut(next int) {
	s.cuts = append(s.cuts, span{s.start, s.end})
	*s = splitter{cuts: s.cuts, start: next}
}

// continues reports whether line, after a blank one, may belong to the list or
// indented code before it.
func continues(line string) bool {
	return line[0] == ' ' || line[0] == '\t' || listMarker(line) > 0
}

// markers gives the width of all list markers that line opens with, blanks
// before them included.
func markers(line string) int {
	width := 0
	for {
		blank := len(line) - len(strings.TrimLeft(line, " \t"))
		w := listMarker(line[blank:])
		if w == 0 {
			return width
		}
		width += blank + w
		line = line[blank+w:]
	}
}

// listMarker gives the width of the list marker that s begins with, 0 if none:
// "-", "+" or "*", or up to nine digits and "." or ")", before a blank.
func listMarker(s string) int {
	n := 0
	for n < len(s) && n < 9 && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	if n == len(s) {
		return 0
	}
	switch c := s[n]; {
	case n == 0 && (c == '-' || c == '+' || c == '*'):
	case n > 0 && (c == '.' || c == ')'):
	default:
		return 0
	}
	n++
	if n == len(s) || s[n] == ' ' || s[n] == '\t' || s[n] == '\n' || s[n] == '\r' {
		return n
	}
	return 0
}

// fence is an open code fence; size 0 means none.
type fence struct {
	char byte
	size int
}

// openFence reads a code fence that is indented by at most limit blanks.
func openFence(line string, limit int) (fence, bool) {
	in := indent(line)
	s := strings.TrimLeft(line, " \t")
	if in > limit || s == "" || (s[0] != '`' && s[0] != '~') {
		return fence{}, false
	}
	n := len(s) - len(strings.TrimLeft(s, s[:1]))
	if n < 3 || (s[0] == '`' && strings.Contains(s[n:], "`")) {
		return fence{}, false
	}
	return fence{char: s[0], size: n}, true
}

// closedBy reports whether line ends the fence.
func (f fence) closedBy(line string) bool {
	s := strings.TrimSpace(line)
	return len(s) >= f.size && strings.Trim(s, string(f.char)) == ""
}

// indent counts leading blanks, a tab as four.
func indent(line string) int {
	n := 0
	for i := range len(line) {
		switch line[i] {
		case ' ':
			n++
		case '\t':
			n += 4
		default:
			return n
		}
	}
	return n
}

// trimBlank drops blank lines at both ends and keeps the first line's indent.
func trimBlank(s string) string {
	for {
		line, rest, more := strings.Cut(s, "\n")
		if !more || strings.TrimSpace(line) != "" {
			break
		}
		s = rest
	}
	return strings.TrimRight(s, " \t\r\n")
}
