package graph

import (
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/heddle/heddle/agents"
)

// Channel is a typed field of a graph's state: its name, and the reducer that
// merges what nodes write. A Channel value is an immutable descriptor; a graph
// declares it with [Builder.Channels], nodes and tests share it freely.
type Channel[T any] struct{ d declaration }

// declaration is what a graph knows of a channel without its type.
type declaration struct {
	name string
	// label names the reducer in the graph's hash.
	label string
	op    agents.DeltaOp
	// check says whether a write has the channel's type.
	check func(json.RawMessage) error
	// schema describes the type to clients.
	schema func() json.RawMessage
	// reduce merges where op is DeltaReduce.
	reduce func(old, in json.RawMessage) (json.RawMessage, error)
}

// Declared is a [Channel] or a [Key].
type Declared interface{ declared() declaration }

func (c Channel[T]) declared() declaration { return c.d }

func channel[T any](name string, op agents.DeltaOp) Channel[T] {
	return Channel[T]{declaration{name: name, label: string(op), op: op, check: decodes[T], schema: schemaOf[T]}}
}

func decodes[T any](raw json.RawMessage) error {
	var v T
	return json.Unmarshal(raw, &v)
}

// Replace makes a channel in which the last write wins.
func Replace[T any](name string) Channel[T] { return channel[T](name, agents.DeltaSet) }

// Append makes a channel whose writes are added at the end of a list.
func Append[E any](name string) Channel[[]E] { return channel[[]E](name, agents.DeltaAppend) }

// AppendByID makes a channel whose writes are added at the end of a list, or
// replace the element with the same id in place. Elements must marshal to
// objects with a text "id" that is not empty; [Channel.Remove] takes them out.
func AppendByID[E any](name string) Channel[[]E] { return channel[[]E](name, agents.DeltaUpsert) }

// Merge makes a channel whose writes set keys of a map; what lies below a key
// is replaced whole.
func Merge[V any](name string) Channel[map[string]V] {
	return channel[map[string]V](name, agents.DeltaMerge)
}

// Sum makes a channel whose writes are added up.
func Sum(name string) Channel[float64] { return channel[float64](name, agents.DeltaAdd) }

// Reduce makes a channel with a reducer of its own. label must change when what
// reduce does changes: it stands in the graph's hash, and a thread whose values
// another reducer made is not resumed. reduce must not change its arguments and
// must depend on nothing else; old is the zero value before the first write. The
// merged value is stored whole with each write, so it should stay small.
func Reduce[T any](name, label string, reduce func(old, in T) T) Channel[T] {
	c := channel[T](name, agents.DeltaReduce)
	c.d.label = string(agents.DeltaReduce) + ":" + label
	c.d.reduce = func(old, in json.RawMessage) (json.RawMessage, error) {
		var a, b T
		if len(old) > 0 {
			if err := json.Unmarshal(old, &a); err != nil {
				return nil, fmt.Errorf("reading the value: %w", err)
			}
		}
		if err := json.Unmarshal(in, &b); err != nil {
			return nil, fmt.Errorf("reading the change: %w", err)
		}
		return json.Marshal(reduce(a, b))
	}
	return c
}

// Private makes the channel one that never leaves the server: it is stored with
// the run's checkpoints, so that whoever goes on has it, but no client sees or
// updates it, and a new input begins without it.
func (c Channel[T]) Private() Channel[T] {
	if !agents.Hidden(c.d.name) {
		c.d.name = "_" + c.d.name
	}
	return c
}

// Name gives the name under which the channel is stored and clients see it.
func (c Channel[T]) Name() string { return c.d.name }

// Get reads the channel from a state; ok is false when nothing was written yet.
// The error is a [*DecodeError].
func (c Channel[T]) Get(s State) (value T, ok bool, err error) {
	raw, ok := s.values[c.d.name]
	if !ok {
		return value, false, nil
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		return value, true, &DecodeError{Channel: c.d.name, Err: err}
	}
	return value, true, nil
}

// Put makes a write to the channel.
func (c Channel[T]) Put(value T) Write {
	raw, err := json.Marshal(value)
	return Write{Change: agents.Change{Channel: c.d.name, Delta: &agents.Delta{Op: c.d.op, Value: raw}}, err: err}
}

// Remove makes a write that takes elements out of an [AppendByID] channel; ids
// that are not there are passed over.
func (c Channel[T]) Remove(ids ...string) Write {
	raw, err := json.Marshal(ids)
	return Write{Change: agents.Change{Channel: c.d.name, Delta: &agents.Delta{Op: agents.DeltaRemove, Value: raw}}, err: err}
}

// validName is what a channel may be called: the names of clients' JSON, and of
// slots.
var validName = regexp.MustCompile(`^_?[A-Za-z][A-Za-z0-9_.-]{0,63}(:[A-Za-z][A-Za-z0-9_.-]{0,63}:v[1-9][0-9]{0,8})?$`)

// messagesChannel is the name that clients know the messages by.
const messagesChannel = "messages"
