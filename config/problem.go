package config

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in the configuration.
type Problem struct {
	Name string // the variable, or the file and line
	Text string // what is wrong and what would be right; never a secret
}

// Error is everything that is wrong with a configuration.
type Error struct{ Problems []Problem }

// Error lists the problems, one a line.
func (e *Error) Error() string {
	var b strings.Builder
	if len(e.Problems) == 1 {
		b.WriteString("configuration: 1 problem")
	} else {
		fmt.Fprintf(&b, "configuration: %d problems", len(e.Problems))
	}
	for _, p := range e.Problems {
		fmt.Fprintf(&b, "\n  %s: %s", p.Name, p.Text)
	}
	return b.String()
}

// problems gathers mistakes while a configuration is read and checked.
type problems []Problem

func (ps *problems) add(name, format string, args ...any) {
	*ps = append(*ps, Problem{Name: name, Text: fmt.Sprintf(format, args...)})
}

// about reports whether name already has a problem; a rule that builds on a
// value that could not be read would only repeat it.
func (ps *problems) about(name string) bool {
	return slices.ContainsFunc(*ps, func(p Problem) bool { return p.Name == name })
}

func (ps *problems) err() error {
	if len(*ps) == 0 {
		return nil
	}
	return &Error{Problems: *ps}
}
