package agents

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Lists of operations and references are long and all alike, so they are stored
// as flat JSON arrays: ["+","id","=","id",7,"-","id"] are operations, ["id","id",7]
// references, where a number is the revision of the message before it. The forms
// of earlier versions, arrays of objects, are read too.

var opSigns = map[OpKind]string{OpAppend: "+", OpReplace: "=", OpRemove: "-"}

// EncodeOps writes operations in the flat form.
func EncodeOps(ops []Op) json.RawMessage {
	out := []byte{'['}
	for i, op := range ops {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, '"'), opSigns[op.Kind]...), `",`...)
		out = appendRef(out, op.ID, op.Rev)
	}
	return append(out, ']')
}

// EncodeRefs writes references in the flat form.
func EncodeRefs(refs []Ref) json.RawMessage {
	out := make([]byte, 0, 2+len(refs)*40)
	out = append(out, '[')
	for i, r := range refs {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendRef(out, r.ID, r.Rev)
	}
	return append(out, ']')
}

func appendRef(out []byte, id MessageID, rev int64) []byte {
	name, err := json.Marshal(string(id))
	if err != nil {
		panic(err) // a string: can't happen
	}
	out = append(out, name...)
	if rev != 0 {
		out = strconv.AppendInt(append(out, ','), rev, 10)
	}
	return out
}

// DecodeOps reads operations in either form.
func DecodeOps(raw []byte) ([]Op, error) {
	if old := bytes.HasPrefix(bytes.TrimLeft(raw, "[ \n\t"), []byte("{")); old || isNull(raw) {
		var out []Op
		return out, json.Unmarshal(raw, &out)
	}
	f := flat{raw: raw}
	var out []Op
	err := f.each(func(text string, rev int64, isText bool) error {
		n := len(out)
		switch {
		case isText && (n == 0 || out[n-1].ID != ""):
			for kind, sign := range opSigns {
				if text == sign {
					out = append(out, Op{Kind: kind})
					return nil
				}
			}
			return fmt.Errorf("unknown operation %q", text)
		case isText:
			out[n-1].ID = MessageID(text)
		case n == 0 || out[n-1].ID == "":
			return errors.New("a revision of nothing")
		default:
			out[n-1].Rev = rev
		}
		return nil
	})
	if n := len(out); err == nil && n > 0 && out[n-1].ID == "" {
		err = errors.New("an operation on nothing")
	}
	return out, err
}

// DecodeRefs reads references in either form.
func DecodeRefs(raw []byte) ([]Ref, error) {
	if old := bytes.HasPrefix(bytes.TrimLeft(raw, "[ \n\t"), []byte("{")); old || isNull(raw) {
		var out []Ref
		return out, json.Unmarshal(raw, &out)
	}
	f := flat{raw: raw}
	var out []Ref
	if len(raw) > 40 { // an id is 36 characters, usually
		out = make([]Ref, 0, len(raw)/38)
	}
	err := f.each(func(text string, rev int64, isText bool) error {
		switch {
		case isText:
			out = append(out, Ref{ID: MessageID(text)})
		case len(out) == 0:
			return errors.New("a revision of nothing")
		default:
			out[len(out)-1].Rev = rev
		}
		return nil
	})
	return out, err
}

// flat reads an array of strings and whole numbers.
type flat struct {
	raw []byte
	at  int
}

var errFlat = errors.New("it is no array of texts and whole numbers")

func (f *flat) skip() {
	for f.at < len(f.raw) && (f.raw[f.at] == ' ' || f.raw[f.at] == '\n' || f.raw[f.at] == '\t' || f.raw[f.at] == '\r') {
		f.at++
	}
}

func (f *flat) next(want byte) bool {
	f.skip()
	if f.at < len(f.raw) && f.raw[f.at] == want {
		f.at++
		return true
	}
	return false
}

func (f *flat) each(do func(text string, number int64, isText bool) error) error {
	if !f.next('[') {
		return errFlat
	}
	if f.next(']') {
		return f.end()
	}
	for {
		text, number, isText, err := f.element()
		if err == nil {
			err = do(text, number, isText)
		}
		if err != nil {
			return err
		}
		if f.next(']') {
			return f.end()
		}
		if !f.next(',') {
			return errFlat
		}
	}
}

func (f *flat) end() error {
	if f.skip(); f.at != len(f.raw) {
		return errFlat
	}
	return nil
}

func (f *flat) element() (text string, number int64, isText bool, err error) {
	f.skip()
	from := f.at
	if f.at < len(f.raw) && f.raw[f.at] == '"' {
		for f.at++; f.at < len(f.raw) && f.raw[f.at] != '"'; f.at++ {
			if f.raw[f.at] == '\\' {
				f.at++
			}
		}
		if f.at >= len(f.raw) {
			return "", 0, true, errFlat
		}
		f.at++
		inner := f.raw[from+1 : f.at-1]
		if bytes.IndexByte(inner, '\\') < 0 && bytes.IndexFunc(inner, func(r rune) bool { return r < ' ' || r > 126 }) < 0 {
			return string(inner), 0, true, nil
		}
		err = json.Unmarshal(f.raw[from:f.at], &text)
		return text, 0, true, err
	}
	for f.at < len(f.raw) && (f.raw[f.at] == '-' || f.raw[f.at] >= '0' && f.raw[f.at] <= '9') {
		f.at++
	}
	number, err = strconv.ParseInt(string(f.raw[from:f.at]), 10, 64)
	if err != nil {
		err = errFlat
	}
	return "", number, false, err
}

// MarshalJSON writes the references in the flat form.
func (s Snapshot) MarshalJSON() ([]byte, error) {
	return json.Marshal(flatSnapshot{EncodeRefs(s.Messages), s.Values})
}

// UnmarshalJSON reads either form.
func (s *Snapshot) UnmarshalJSON(raw []byte) error {
	var f flatSnapshot
	if err := json.Unmarshal(raw, &f); err != nil {
		return err
	}
	refs, err := DecodeRefs(f.Messages)
	*s = Snapshot{Messages: refs, Values: f.Values}
	return err
}

type flatSnapshot struct {
	Messages json.RawMessage            `json:"messages"`
	Values   map[string]json.RawMessage `json:"values,omitempty"`
}

// MarshalJSON writes the operations in the flat form, alone where no channel
// changed.
func (r Rollup) MarshalJSON() ([]byte, error) {
	f := flatRollup{Deltas: r.Deltas}
	if len(r.Deltas) == 0 {
		return EncodeOps(r.Ops), nil
	}
	if len(r.Ops) > 0 {
		f.Ops = EncodeOps(r.Ops)
	}
	return json.Marshal(f)
}

// UnmarshalJSON reads every form.
func (r *Rollup) UnmarshalJSON(raw []byte) error {
	if bytes.HasPrefix(raw, []byte("[")) {
		ops, err := DecodeOps(raw)
		*r = Rollup{Ops: ops}
		return err
	}
	var f flatRollup
	if err := json.Unmarshal(raw, &f); err != nil {
		return err
	}
	*r = Rollup{Deltas: f.Deltas}
	if f.Ops == nil {
		return nil
	}
	var err error
	r.Ops, err = DecodeOps(f.Ops)
	return err
}

type flatRollup struct {
	Ops    json.RawMessage    `json:"ops,omitempty"`
	Deltas map[string][]Delta `json:"deltas,omitempty"`
}
