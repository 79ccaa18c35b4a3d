package tool

import (
	"fmt"
	"strings"
)

// cut keeps a result within the dispatcher's bound. Data is not cut in the
// middle, which would break it, but left out.
func (d *Dispatcher) cut(r Result) Result {
	r.Content = strings.ToValidUTF8(r.Content, "\uFFFD")
	if len(r.Content) > d.options.MaxOutput {
		whole := len(r.Content)
		r.Content = clip(r.Content, d.options.MaxOutput) + fmt.Sprintf("\n[cut: %d of %d bytes shown]", d.options.MaxOutput, whole)
		r.Truncated = true
	}
	if len(r.Data) > d.options.MaxOutput {
		r.Data, r.Truncated = nil, true
	}
	r.Title = clip(r.Title, 200)
	return r
}

// clip gives at most n bytes of text and never half a character.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "")
}
