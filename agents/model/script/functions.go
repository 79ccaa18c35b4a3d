package script

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"text/template"
)

// functions are what templates may call:
//
//	quote TEXT       TEXT as a JSON string
//	json TEXT        TEXT parsed as JSON, nil if it is none
//	arith TEXT       spoken arithmetic as an expression: "3 times 4" gives "3 * 4"
//	count TEXT       the numbers from 1 to TEXT, at least 1 and at most 1000
//	over TEXT        whether TEXT is a number above 1000
//	list TEXT        the parts of "a, b and c"
//	after SEP TEXT   what follows the last SEP in TEXT, or TEXT
//	you TEXT         TEXT said to the person: "I like my tea" gives "you like your tea"
//	line TEXT        TEXT on one line, without marks of hits and of Markdown
//	upper TEXT       TEXT with a capital first letter
//	has LIST ITEM    whether LIST holds ITEM
func functions() template.FuncMap {
	return template.FuncMap{
		"quote": quote, "json": parse, "arith": arith, "count": count, "over": over, "list": List,
		"after": after, "you": you, "line": oneLine, "upper": upper, "has": has,
	}
}

func quote(text string) (string, error) {
	out, err := json.Marshal(text)
	return string(out), err
}

func parse(text string) any {
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return nil
	}
	return v
}

var spoken = []struct {
	said *regexp.Regexp
	sign string
}{
	{regexp.MustCompile(`(?i)\b(?:percent|per cent|%)\s+of\b|%\s+of\b`), "/ 100 *"},
	{regexp.MustCompile(`(?i)\bpercent\b|\bper cent\b`), "/ 100"},
	{regexp.MustCompile(`(?i)\b(?:multiplied by|times)\b|×`), "*"},
	{regexp.MustCompile(`(?i)(\d)\s*x\s*(\d)`), "$1 * $2"},
	{regexp.MustCompile(`(?i)\b(?:divided by|over)\b|÷`), "/"},
	{regexp.MustCompile(`(?i)\bplus\b`), "+"},
	{regexp.MustCompile(`(?i)\bminus\b|−`), "-"},
	{regexp.MustCompile(`(?i)\b(?:to the power of|to the)\b|\*\*`), "^"},
	{regexp.MustCompile(`(?i)\bsquared\b`), "^ 2"},
	{regexp.MustCompile(`(?i)\bcubed\b`), "^ 3"},
	{regexp.MustCompile(`(?i)\b(?:the )?square root of\s+([\d.]+)|√\s*([\d.]+)`), "sqrt($1$2)"},
	{regexp.MustCompile(`(?i)\bmod(?:ulo)?\b`), "%"},
}

func arith(text string) string {
	for _, s := range spoken {
		text = s.said.ReplaceAllString(text, s.sign)
	}
	return strings.Join(strings.Fields(strings.TrimRight(text, "= ")), " ")
}

const maxCount = 1000

func number(text string) int {
	n, err := strconv.Atoi(strings.NewReplacer(",", "", "'", "", ".", "").Replace(text))
	if err != nil {
		return maxCount + 1 // only a number too long for an int ends here
	}
	return n
}

func over(text string) bool { return number(text) > maxCount }

func count(text string) string {
	n := min(max(number(text), 1), maxCount)
	var b strings.Builder
	for i := 1; i <= n; i++ {
		if i > 1 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Itoa(i))
	}
	return b.String()
}

var listMarks = regexp.MustCompile(`(?i)\s*(?:,\s*and\b|,|;|&|\band\b|\bor\b)\s*`)

// List gives the parts of a spoken list, each trimmed, without empty ones.
func List(text string) []string {
	var out []string
	for _, part := range listMarks.Split(text, -1) {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func after(sep, text string) string {
	if i := strings.LastIndex(text, sep); i >= 0 {
		return text[i+len(sep):]
	}
	return text
}

var firstPerson = regexp.MustCompile(`(?i)\b(?:i am|i'm|i've|i'll|i'd|i|my|mine|me|myself)\b`)

func you(text string) string {
	return firstPerson.ReplaceAllStringFunc(text, func(word string) string {
		switch strings.ToLower(word) {
		case "i am", "i'm":
			return "you are"
		case "i've":
			return "you have"
		case "i'll":
			return "you will"
		case "i'd":
			return "you would"
		case "my":
			return "your"
		case "mine":
			return "yours"
		case "myself":
			return "yourself"
		default:
			return "you"
		}
	})
}

// marks are those of Markdown that break when a passage is cut out of its page.
var marks = regexp.MustCompile(`[|]|(?m:^[#>-]+ )|-{3,}|:-+:?`)

func oneLine(text string) string {
	text = strings.NewReplacer("⟦", "", "⟧", "", "**", "", "`", "").Replace(strings.TrimSpace(text))
	return strings.Join(strings.Fields(marks.ReplaceAllString(text, " ")), " ")
}

func upper(text string) string {
	if text == "" {
		return ""
	}
	r := []rune(text)
	return strings.ToUpper(string(r[:1])) + string(r[1:])
}

func has(list []string, item string) bool {
	for _, s := range list {
		if s == item {
			return true
		}
	}
	return false
}
