package markdown

import (
	"html"
	"strings"
	"time"

	"github.com/alecthomas/chroma/v2"
	"github.com/alecthomas/chroma/v2/lexers"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/util"
)

// Highlighting is a courtesy: beyond these limits code is shown without it.
// Sizes decide, so that a patch and a reload agree; the time is a last resort
// against a grammar that backtracks, far above what ordinary code takes on a
// busy machine.
const (
	maxHighlight     = 24 << 10
	maxHighlightLine = 2000
	highlightBudget  = time.Second
)

func (n *nodeRenderer) fenced(w util.BufWriter, src []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		block := node.(*ast.FencedCodeBlock)
		writeCode(w, string(block.Language(src)), string(block.Lines().Value(src)))
	}
	return ast.WalkSkipChildren, nil
}

func (n *nodeRenderer) indented(w util.BufWriter, src []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		writeCode(w, "", string(node.Lines().Value(src)))
	}
	return ast.WalkSkipChildren, nil
}

// writeCode writes a block of code with its language and a copy button, which
// static/src/js/copy.js brings to life.
func writeCode(w util.BufWriter, info, code string) {
	lexer := lexerFor(info)
	label := "Text"
	if lexer != nil {
		label = lexer.Config().Name
	} else if tag := languageTag(info); tag != "" {
		label = tag
	}
	_, _ = w.WriteString(`<div class="code"><div class="code-head"><span class="code-lang">` + html.EscapeString(label) +
		`</span><button class="copy" type="button" data-copy="code">Copy</button></div>` +
		`<pre class="code-body" role="group" aria-label="Code: ` + html.EscapeString(label) + `" tabindex="0"><code>`)
	if !highlight(w, lexer, code) {
		_, _ = w.WriteString(html.EscapeString(code))
	}
	_, _ = w.WriteString("</code></pre></div>\n")
}

// lexerFor finds the grammar that a fence names. Grammars are never guessed
// from the code: that would try all of them.
func lexerFor(info string) chroma.Lexer {
	tag := languageTag(info)
	if tag == "" {
		return nil
	}
	lexer := lexers.Get(tag)
	if lexer == nil || lexer == lexers.Fallback {
		return nil
	}
	return lexer
}

// languageTag keeps the first word of a fence's info if it can name a language.
func languageTag(info string) string {
	if len(info) == 0 || len(info) > 24 {
		return ""
	}
	ok := strings.ContainsFunc(info, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("+#-_.", r)
	})
	if ok {
		return ""
	}
	return info
}

// highlight writes code with one class per family of tokens, which the style
// sheet colours for both schemes. It reports false, with nothing written, when
// the code is too big, too slow or unknown.
func highlight(w util.BufWriter, lexer chroma.Lexer, code string) bool {
	if lexer == nil || len(code) > maxHighlight {
		return false
	}
	for line := range strings.Lines(code) {
		if len(line) > maxHighlightLine {
			return false
		}
	}
	tokens, err := chroma.Coalesce(lexer).Tokenise(nil, code)
	if err != nil {
		return false
	}
	deadline := time.Now().Add(highlightBudget)
	var b strings.Builder
	for token := tokens(); token != chroma.EOF; token = tokens() {
		if time.Now().After(deadline) {
			return false
		}
		if class := family(token.Type); class != "" {
			b.WriteString(`<span class="` + class + `">` + html.EscapeString(token.Value) + "</span>")
		} else {
			b.WriteString(html.EscapeString(token.Value))
		}
	}
	_, _ = w.WriteString(b.String())
	return true
}

// family maps the many token types to the few that are coloured.
func family(t chroma.TokenType) string {
	switch {
	case t == chroma.GenericInserted:
		return "c-ins"
	case t == chroma.GenericDeleted:
		return "c-del"
	case t == chroma.GenericHeading || t == chroma.GenericSubheading:
		return "c-kw"
	case t.InCategory(chroma.Comment):
		return "c-com"
	case t == chroma.KeywordType, t == chroma.NameClass, t == chroma.NameNamespace:
		return "c-type"
	case t.InCategory(chroma.Keyword), t == chroma.NameTag, t == chroma.OperatorWord:
		return "c-kw"
	case t.InSubCategory(chroma.LiteralString):
		return "c-str"
	case t.InSubCategory(chroma.LiteralNumber):
		return "c-num"
	case t.InSubCategory(chroma.NameFunction), t == chroma.NameBuiltin, t == chroma.NameAttribute:
		return "c-fn"
	default:
		return ""
	}
}
