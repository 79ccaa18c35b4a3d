package config

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

var dotEnvName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// readDotEnv reads NAME=VALUE lines: blank lines and those that start with #
// are skipped, "export " before a name is allowed, a value may stand in single
// or double quotes, and an unquoted one ends at " #". Nothing is expanded.
// Problems name the line and never repeat its text, which may be a secret.
func readDotEnv(path string, ps *problems) map[string]string {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		ps.add(path, "cannot be read: %v", err)
		return nil
	}
	values := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, 1<<20)
	number := 0
	for lines.Scan() {
		number++
		line := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		where := fmt.Sprintf("%s line %d", path, number)
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		name = strings.TrimSpace(name)
		if !ok || !dotEnvName.MatchString(name) {
			ps.add(where, "is not NAME=VALUE")
			continue
		}
		value, ok = unquote(strings.TrimSpace(value))
		if !ok {
			ps.add(where, "the value of %s opens a quote that the line does not close", name)
			continue
		}
		if _, twice := values[name]; twice {
			ps.add(where, "%s is set twice in this file", name)
		}
		values[name] = value
	}
	if err := lines.Err(); err != nil {
		ps.add(path, "cannot be read: %v", err)
	}
	return values
}

// unquote returns the value that text spells; ok is false for an open quote.
func unquote(text string) (value string, ok bool) {
	if text == "" {
		return "", true
	}
	quote := text[0]
	if quote != '"' && quote != '\'' {
		if strings.HasPrefix(text, "#") {
			return "", true
		}
		value, _, _ = strings.Cut(text, " #")
		return strings.TrimSpace(value), true
	}
	value, rest, closed := strings.Cut(text[1:], string(quote))
	rest = strings.TrimSpace(rest)
	return value, closed && (rest == "" || strings.HasPrefix(rest, "#"))
}
