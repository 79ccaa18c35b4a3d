package script

import (
	"unicode"
	"unicode/utf8"

	"github.com/heddle/heddle/agents/model"
)

// Lengths in runes: a word up to wholeWord is one token, a longer one is cut
// into pieces of wordPiece. English text so has about four letters a token,
// as with the tokenizers of hosted models.
const (
	wholeWord = 7
	wordPiece = 4
)

// Pieces cuts text into what looks like a model's tokens: a word with the
// space before it, a part of a long word, a number, one mark, a line break.
// Joined, the pieces are the text.
func Pieces(text string) []string {
	var out []string
	for len(text) > 0 {
		n := pieceLen(text)
		out = append(out, text[:n])
		text = text[n:]
	}
	return out
}

func pieceLen(text string) int {
	at := 0
	if text[0] == ' ' {
		at = 1
	}
	r, size := utf8.DecodeRuneInString(text[at:])
	if size == 0 || !wordRune(r) {
		if at == 1 && (size == 0 || unicode.IsSpace(r)) {
			return 1
		}
		return at + size
	}
	end, runes, cut := at, 0, 0
	for end < len(text) {
		r, size := utf8.DecodeRuneInString(text[end:])
		if !wordRune(r) {
			break
		}
		end += size
		if runes++; runes == wordPiece {
			cut = end
		}
		if runes > wholeWord {
			return cut
		}
	}
	return end
}

func wordRune(r rune) bool {
	return r == '\'' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
}

func tokens(text string) int { return len(Pieces(text)) }

// inputTokens counts a request the way a provider bills it: system text, tools
// and every message, with a few tokens of framing for each message.
func inputTokens(req model.Request) int {
	const framing = 4
	n := tokens(req.System)
	for _, t := range req.Tools {
		n += framing + tokens(t.Name) + tokens(t.Description) + tokens(string(t.Schema))
	}
	for _, m := range req.Messages {
		n += framing + tokens(m.Text())
		for _, c := range m.ToolCalls {
			n += tokens(c.Name) + tokens(string(c.Args))
		}
	}
	return n
}
