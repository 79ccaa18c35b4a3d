// Package ui is the component kit: buttons, fields, badges, menus, notices,
// icons, times. It knows no word of the business. A component takes one Props
// struct; looks are typed constants that end up as one class, whose rules are
// in static/src/css/ui.css.
//
// Invariants: no inline script or style; every control has a name; state is
// said in words and shape, never in colour alone. Views may import it; it
// imports templ only.
package ui

import (
	"strings"

	"github.com/a-h/templ"
)

// Variant is a button's weight on the page.
type Variant string

// The variants. A view has one primary button.
const (
	Primary Variant = "primary"
	Plain   Variant = "plain"
	Quiet   Variant = "quiet"
	Danger  Variant = "danger"
)

// Tone colours a badge or notice; each goes with a word and an icon.
type Tone string

// The tones.
const (
	Neutral Tone = "neutral"
	Good    Tone = "good"
	Wait    Tone = "wait"
	Bad     Tone = "bad"
	Info    Tone = "info"
)

// icon names the sign that goes with a tone.
func (t Tone) icon() string {
	switch t {
	case Good:
		return "check"
	case Wait:
		return "hourglass"
	case Bad:
		return "alert"
	case Info:
		return "info"
	default:
		return ""
	}
}

// Button describes a button or, with Href, a link that looks like one.
type Button struct {
	ID      string
	Label   string
	Icon    string // a name of static/src/icons.txt
	Variant Variant
	// IconOnly hides the label from sight, not from screen readers.
	IconOnly bool
	Small    bool
	Disabled bool
	Href     string
	Type     string // submit by default
	// Form and Action let a button post a form that stands elsewhere, so that
	// regions patched live hold no tokens.
	Form, Action string
	Name, Value  string
	Attrs        templ.Attributes
}

func (b Button) class() string {
	variant := b.Variant
	if variant == "" {
		variant = Plain
	}
	return Class("btn", "btn-"+string(variant), When(b.IconOnly, "btn-icon"), When(b.Small, "btn-small"))
}

func (b Button) kind() string {
	if b.Type == "" {
		return "submit"
	}
	return b.Type
}

// Field describes a labelled input.
type Field struct {
	ID, Name, Label string
	Value           string
	Type            string // text by default
	Hint, Error     string
	Placeholder     string
	HideLabel       bool
	Required        bool
	Autocomplete    string
	Attrs           templ.Attributes
}

func (f Field) kind() string {
	if f.Type == "" {
		return "text"
	}
	return f.Type
}

// describedBy names the hint and error that belong to the field.
func (f Field) describedBy() string {
	return Class(When(f.Hint != "", f.ID+"-hint"), When(f.Error != "", f.ID+"-error"))
}

// Option is one choice of a Select.
type Option struct {
	Value, Label string
	Selected     bool
}

// Time is a moment as it is shown: the text for people, the exact moment for
// machines and on hover.
type Time struct {
	ISO   string // RFC 3339, UTC
	Text  string // such as "4 min ago"
	Title string // such as "21 November 2026, 09:41"
	// Relative lets the script keep Text true as time passes.
	Relative bool
	// Until does the same for a moment to come; State is "soon" or "late" when
	// little or nothing is left.
	Until bool
	State string
}

// Flash is a notice about what just happened.
type Flash struct {
	Tone Tone
	Text string
}

// Empty describes a pane with nothing in it: what would be here, and what to do.
type Empty struct {
	Icon, Title, Text string
}

// MarkState is what the mark's weft does.
type MarkState string

// The states of the mark.
const (
	MarkRest MarkState = "rest"
	MarkWork MarkState = "work"
	MarkWait MarkState = "wait"
)

// Class joins the words that are not empty.
func Class(words ...string) string {
	kept := words[:0:0]
	for _, w := range words {
		if w != "" {
			kept = append(kept, w)
		}
	}
	return strings.Join(kept, " ")
}

// When gives word if the condition holds.
func When(condition bool, word string) string {
	if condition {
		return word
	}
	return ""
}
