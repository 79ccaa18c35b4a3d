package replay

import (
	"fmt"
	"strings"
)

// Report is what a comparison found.
type Report struct {
	// Names say what the two sides are, Events how many were compared of each, in
	// normal form, State how many messages and channels.
	Names         [2]string
	Events, State [2]int
	// Difference is the first one; nil when both sides are the same.
	Difference *Difference
	// Notes are what else is worth knowing: how a run ended, what was asked for
	// and is not in the recording.
	Notes []string
}

// Same reports whether nothing differs.
func (r Report) Same() bool { return r.Difference == nil }

// Difference is a place where two sides differ.
type Difference struct {
	// Where is the place, in words.
	Where string
	// Sides are what each has there; empty means nothing.
	Sides [2]string
}

// String tells what was found, in lines.
func (r Report) String() string {
	var out strings.Builder
	width := max(len(r.Names[0]), len(r.Names[1]))
	if d := r.Difference; d != nil {
		fmt.Fprintf(&out, "first difference: %s\n", d.Where)
		for i, text := range d.Sides {
			if text == "" {
				text = "(nothing)"
			}
			fmt.Fprintf(&out, "  %-*s  %s\n", width, r.Names[i], text)
		}
	}
	fmt.Fprintf(&out, "events: %d %s, %d %s; messages and channels: %d and %d\n",
		r.Events[0], r.Names[0], r.Events[1], r.Names[1], r.State[0], r.State[1])
	for _, note := range r.Notes {
		fmt.Fprintf(&out, "note: %s\n", note)
	}
	return out.String()
}

type side struct {
	name string
	Recording
}

// Compare holds two recordings of the same work against each other, however each
// was interrupted: by pauses, lost workers, failed tries. What counts is what
// nodes did, step by step, and the state in the end.
func Compare(a, b Recording) Report {
	x, y := side{a.Name, a}, side{b.Name, b}
	if x.name == y.name {
		x.name, y.name = "first", "second"
	}
	return compare(x, y, effects)
}

func compare(a, b side, m mode) Report {
	r := Report{Names: [2]string{a.name, b.name}}
	x, y := normal(a.Recording, m), normal(b.Recording, m)
	r.Events = [2]int{len(x), len(y)}
	s, t := stateLines(a.State), stateLines(b.State)
	r.State = [2]int{len(s), len(t)}
	if r.Difference = first(x, y); r.Difference == nil {
		r.Difference = first(s, t)
		if r.Difference != nil {
			r.Difference.Where = "the final state"
		}
	}
	return r
}

// first finds the first difference of two lists.
func first(a, b []line) *Difference {
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			return &Difference{Where: b[i].where(), Sides: [2]string{"", b[i].text}}
		case i >= len(b):
			return &Difference{Where: a[i].where(), Sides: [2]string{a[i].text, ""}}
		case a[i] != b[i]:
			where := a[i].where()
			if other := b[i].where(); other != where {
				where += " / " + other
			}
			return &Difference{Where: where, Sides: [2]string{a[i].text, b[i].text}}
		}
	}
	return nil
}
