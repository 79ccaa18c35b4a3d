package script

import (
	"regexp"
	"strings"

	"github.com/heddle/heddle/agents/model"
)

// turn is what of a request decides the reply.
type turn struct {
	text    string // the last human text as written
	plain   string // the same without politeness and end marks, for matching
	name    string // the assistant's name
	brief   bool   // the system text asks for short answers
	offered []string
	results []result
	rounds  int // how many answers with calls came since the human text
}

// result is what one tool gave since the last human text.
type result struct {
	Name    string
	Args    string
	Content string
	Failed  bool
}

const defaultName = "the assistant"

var (
	nameSaid  = regexp.MustCompile(`(?:[Yy]ou are|[Yy]our name is) (?:called |named )?(\p{Lu}[\p{L}\d' -]{0,40}?)(?:[,.;:!\n]|$| the | an? )`)
	briefSaid = regexp.MustCompile(`(?i)\b(?:brief|briefly|concise|concisely|short answers|terse)\b`)
	polite    = regexp.MustCompile(`(?i)^(?:(?:hi|hello|hey|ok|okay|thanks|thank you|and|so|now|then)(?: there)?[,.!:]? |please |could you |can you |would you |will you |do you know |i(?:'d| would) like (?:you )?to |i want (?:you )?to |tell me |let's )`)
	endMarks  = regexp.MustCompile(`(?i)(?:[\s,]+please|[\s,]+thanks|[\s,]+thank you|[\s?!.…]+)$`)
)

func readTurn(req model.Request) turn {
	t := turn{name: defaultName, brief: briefSaid.MatchString(req.System)}
	if m := nameSaid.FindStringSubmatch(req.System); m != nil {
		t.name = strings.TrimSpace(m[1])
	}
	if req.Params.ToolChoice != model.ToolsNone {
		for _, tool := range req.Tools {
			t.offered = append(t.offered, tool.Name)
		}
	}
	args := map[string]string{}
	for _, m := range req.Messages {
		switch m.Role {
		case model.RoleUser:
			t.text, t.results, t.rounds = m.Text(), nil, 0
		case model.RoleAssistant:
			if len(m.ToolCalls) > 0 {
				t.rounds++
			}
			for _, c := range m.ToolCalls {
				args[c.ID] = string(c.Args)
			}
		case model.RoleTool:
			t.results = append(t.results, result{
				Name: m.ToolName, Args: args[m.ToolCallID], Content: m.Text(), Failed: m.Failed,
			})
		}
	}
	t.plain = plain(t.text)
	return t
}

// Bounds of the matching, whose cost grows with the text: what stands beyond
// maxMatched bytes does not matter to any rule, and nobody is polite more often
// than maxPolite times.
const (
	maxMatched = 2000
	maxPolite  = 8
)

// plain strips what people add around a request. It never strips everything.
func plain(text string) string {
	if len(text) > maxMatched {
		text = strings.ToValidUTF8(text[:maxMatched], "")
	}
	text = strings.Join(strings.Fields(strings.ReplaceAll(text, "’", "'")), " ")
	for range maxPolite {
		rest := endMarks.ReplaceAllString(text, "")
		if loc := polite.FindStringIndex(rest); loc != nil {
			rest = rest[loc[1]:]
		}
		if rest == "" || rest == text {
			return text
		}
		text = rest
	}
	return text
}
