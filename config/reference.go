package config

import (
	"fmt"
	"strings"
)

// Markdown returns docs/config.md: the reference of all variables.
func Markdown() string {
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Generated from config/variables.go by "make generate". Do not edit. -->

Heddle is configured by environment variables alone, read once at start. All are checked together, and a start that
fails lists everything that is wrong. A ` + "`HEDDLE_`" + ` name that is not in this page stops the start, so that a typing mistake cannot
go unnoticed; names that start with ` + "`HEDDLE_TEST_`" + ` or ` + "`HEDDLE_BENCH_`" + ` belong to the tests and are ignored.

- ` + "`heddle config`" + ` prints every variable with the value in effect and its source; secrets are stars.
- A **secret** may also come from a file: set ` + "`NAME_FILE`" + ` to its path instead of ` + "`NAME`" + `. Line breaks at its end are dropped.
- An empty value counts as unset.
- In development, and only there, a ` + "`.env`" + ` file in the working directory is read too. The real environment wins over it.
  Start from ` + "`.env.example`" + `.
- The rules of production hold everywhere but in development: staging is where production is rehearsed, and a name
  of ` + "`HEDDLE_ENV`" + ` that nobody knows behaves as production.
`)
	group := ""
	for _, e := range (&Config{}).Entries() {
		if e.Group != group {
			group = e.Group
			fmt.Fprintf(&b, "\n## %s\n\n| Variable | Default | Meaning |\n|---|---|---|\n", group)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", e.Name, e.defaults(), e.meaning())
	}
	return b.String()
}

// DotEnvExample returns .env.example: every variable, commented out, with its
// default in development.
func DotEnvExample() string {
	var b strings.Builder
	b.WriteString(`# Settings for development. Copy to .env and take the # off what you change;
# nothing here is needed for a first run. Reference: docs/config.md.
# Generated from config/variables.go by "make generate". Do not edit.
`)
	group := ""
	for _, e := range (&Config{}).Entries() {
		if e.Group != group {
			group = e.Group
			fmt.Fprintf(&b, "\n# --- %s ---\n", group)
		}
		b.WriteByte('\n')
		for _, line := range wrap(e.Doc, 76) {
			b.WriteString("# " + line + "\n")
		}
		if e.Low != "" {
			fmt.Fprintf(&b, "# From %s to %s.\n", e.Low, e.High)
		}
		value := e.DevDefault
		if strings.Contains(value, " ") {
			value = `"` + value + `"`
		}
		fmt.Fprintf(&b, "#%s=%s\n", e.Name, value)
	}
	return b.String()
}

func (e Entry) defaults() string {
	code := func(s string) string {
		if s == "" {
			return "none"
		}
		return "`" + s + "`"
	}
	switch {
	case e.Default == e.DevDefault && e.Default == "":
		return ""
	case e.Default == e.DevDefault:
		return code(e.Default)
	default:
		return code(e.Default) + "; in development " + code(e.DevDefault)
	}
}

func (e Entry) meaning() string {
	text := strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(e.Doc)
	if e.Low != "" {
		text += fmt.Sprintf(" From %s to %s.", e.Low, e.High)
	}
	if e.Secret {
		text += " **Secret.**"
	}
	return text
}

// wrap breaks text into lines of at most width bytes, at spaces.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
