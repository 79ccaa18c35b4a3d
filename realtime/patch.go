package realtime

import (
	"bytes"
	"encoding/json"
)

// Patch is the payload of a view frame: the state of some regions of a page as
// of one number.
type Patch struct {
	Seq     int64    `json:"seq"`
	Regions []Region `json:"regions"`
}

// Region is a part of a page with a stable element id. Applying it twice is
// the same as once.
type Region struct {
	// ID is the element's id.
	ID string `json:"id"`
	// HTML replaces the element.
	HTML string `json:"html,omitempty"`
	// Into is the id of the element at whose end a region goes that is not on
	// the page yet.
	Into string `json:"into,omitempty"`
	// Remove takes the element away.
	Remove bool `json:"remove,omitempty"`
}

// Encode returns the patch as JSON, with HTML as it is: the frame is read by
// JSON.parse, never as a script.
func (p Patch) Encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(p); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
