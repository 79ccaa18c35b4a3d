package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
)

// selection is which fields of a thread or state are wanted; none named means all.
type selection struct {
	fields []string
	// channels are those of the values, if not all are wanted.
	channels []string
}

// selectionOf reads names of fields, among them values.CHANNEL.
func selectionOf(names []string) selection {
	var s selection
	for _, name := range names {
		if channel, ok := strings.CutPrefix(name, "values."); ok {
			s.channels = append(s.channels, channel)
		} else {
			s.fields = append(s.fields, name)
		}
	}
	if slices.Contains(s.fields, "values") {
		s.channels = nil
	}
	return s
}

func (s selection) all() bool { return len(s.fields) == 0 && len(s.channels) == 0 }

func (s selection) wants(field string) bool { return s.all() || slices.Contains(s.fields, field) }

func (s selection) values() bool { return s.wants("values") || len(s.channels) > 0 }

func (s selection) channel(name string) bool {
	return len(s.channels) == 0 || slices.Contains(s.channels, name)
}

// messages reports whether the messages are wanted, which most of a state is.
func (s selection) messages() bool { return s.values() && s.channel("messages") }

// keep takes out of fields what is not wanted.
func (s selection) keep(fields fiber.Map) {
	if !s.all() {
		maps.DeleteFunc(fields, func(name string, _ any) bool { return !slices.Contains(s.fields, name) })
	}
}

// encoder writes threads and states as JSON. A message is encoded once, however many
// of the states show it, and nothing is looked at again once it is JSON. It is for
// one thread: messages are told apart by their ids. The zero encoder writes one state,
// and remembers nothing.
type encoder struct {
	messages map[agents.Ref]place
	written  []byte
}

// place is where a message stands in what was written.
type place struct{ from, to int }

func newEncoder() *encoder { return &encoder{messages: map[agents.Ref]place{}} }

// message gives a message as JSON; it is valid until the next one.
func (e *encoder) message(m agents.Message) []byte {
	ref := agents.Ref{ID: m.ID, Rev: m.Revision}
	at, ok := e.messages[ref]
	if !ok {
		at.from = len(e.written)
		e.written = appendMessage(e.written, m)
		at.to = len(e.written)
		e.messages[ref] = at
	}
	return e.written[at.from:at.to]
}

// values writes a state's public channels, as presentValues gives them.
func (e *encoder) values(out *bytes.Buffer, s agents.State, sel selection) error {
	if s.Head == nil {
		out.WriteString("{}")
		return nil
	}
	comma := byte('{')
	key := func(name string) error {
		raw, err := json.Marshal(name)
		if err != nil {
			return fmt.Errorf("writing the name of a channel as JSON: %w", err)
		}
		out.WriteByte(comma)
		out.Write(raw)
		out.WriteByte(':')
		comma = ','
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.Values)) {
		if agents.Hidden(name) || name == "messages" || !sel.channel(name) {
			continue
		}
		if err := key(name); err != nil {
			return err
		}
		out.Write(s.Values[name])
	}
	if sel.channel("messages") {
		if err := key("messages"); err != nil {
			return err
		}
		e.list(out, s.Messages)
	}
	if comma == '{' {
		out.WriteByte('{')
	}
	out.WriteByte('}')
	return nil
}

// aboutMessage is how long the JSON of a message is besides what it says.
const aboutMessage = 200

// list writes messages.
func (e *encoder) list(out *bytes.Buffer, messages []agents.Message) {
	if e.messages == nil {
		about := 0
		for i := range messages {
			about += len(messages[i].Text) + len(messages[i].Blocks) + aboutMessage
		}
		out.Grow(about)
	}
	out.WriteByte('[')
	for i, m := range messages {
		if i > 0 {
			out.WriteByte(',')
		}
		if e.messages == nil {
			out.Write(appendMessage(out.AvailableBuffer(), m))
		} else {
			out.Write(e.message(m))
		}
	}
	out.WriteByte(']')
}

// valuesJSON gives a state's public channels on one line, with what is asked for
// under __interrupt__ if something is.
func valuesJSON(s agents.State) ([]byte, error) {
	var out bytes.Buffer
	if err := new(encoder).values(&out, s, selection{}); err != nil {
		return nil, err
	}
	body := out.Bytes()
	if open := presentInterrupts(s.Head); len(open) > 0 {
		raw, err := json.Marshal(open)
		if err != nil {
			return nil, fmt.Errorf("writing interrupts as JSON: %w", err)
		}
		body = body[:len(body)-1]
		if len(body) > 1 {
			body = append(body, ',')
		}
		body = append(append(append(body, `"__interrupt__":`...), raw...), '}')
	}
	if bytes.IndexByte(body, '\n') < 0 {
		return body, nil
	}
	var line bytes.Buffer
	if err := json.Compact(&line, body); err != nil {
		return nil, fmt.Errorf("writing values on one line: %w", err)
	}
	return line.Bytes(), nil
}

// join writes fields, and the values among them if they are wanted.
func (e *encoder) join(out *bytes.Buffer, fields fiber.Map, s agents.State, sel selection) error {
	raw, err := json.Marshal(fields)
	if err != nil {
		return fmt.Errorf("writing a state as JSON: %w", err)
	}
	if !sel.values() {
		out.Write(raw)
		return nil
	}
	out.WriteString(`{"values":`)
	if err := e.values(out, s, sel); err != nil {
		return err
	}
	if len(raw) > 2 {
		out.WriteByte(',')
	}
	out.Write(raw[1:])
	return nil
}

// state writes a ThreadState.
func (e *encoder) state(out *bytes.Buffer, thread agents.ThreadID, s agents.State, sel selection) error {
	fields := stateFields(thread, s)
	sel.keep(fields)
	return e.join(out, fields, s, sel)
}

// thread gives a Thread.
func (e *encoder) thread(t agents.FoundThread, sel selection, ttl bool) ([]byte, error) {
	var out bytes.Buffer
	fields := threadFields(t.Thread, t.State)
	if ttl {
		fields["ttl"] = presentTTL(t.Thread)
	}
	sel.keep(fields)
	err := e.join(&out, fields, t.State, sel)
	return out.Bytes(), err
}

// maxGrow bounds the room that a list is given at once.
const maxGrow = 16 << 20

// list writes pieces of JSON as a list: about as long as the first are the others.
func list[T any](out *bytes.Buffer, items []T, write func(T) error) error {
	out.WriteByte('[')
	for i, item := range items {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := write(item); err != nil {
			return err
		}
		if i == 0 {
			out.Grow(min(out.Len()*(len(items)-1), maxGrow) + 1)
		}
	}
	out.WriteByte(']')
	return nil
}

func sendJSON(c *fiber.Ctx, body []byte) error {
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	return c.Send(body)
}
