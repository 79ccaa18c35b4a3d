package graph

import (
	"fmt"

	"github.com/heddle/heddle/agents"
)

// Key is a typed slot of the state with a version: code that reads version 2
// never meets what version 1 wrote, and both can stand side by side while old
// threads live. It is a channel in which the last write wins.
type Key[T any] struct {
	ch Channel[T]
	// older reads an earlier version where this one was never written.
	older func(State) (T, bool, error)
}

// NewKey names a slot NAMESPACE:NAME:vVERSION, as in chat:topic:v1. Namespace
// and name are letters, digits, "_", "." and "-" (at most 64), version is from 1.
func NewKey[T any](namespace, name string, version int) Key[T] {
	return Key[T]{ch: channel[T](fmt.Sprintf("%s:%s:v%d", namespace, name, version), agents.DeltaSet)}
}

// Private makes the slot one that lives as long as its run and never leaves the
// server, see [Channel.Private].
func (k Key[T]) Private() Key[T] {
	k.ch = k.ch.Private()
	return k
}

// Migrating makes a slot that reads what an older one holds while it was never
// written itself. Both must be declared with the graph.
func Migrating[T, Old any](k Key[T], old Key[Old], read func(Old) (T, error)) Key[T] {
	k.older = func(s State) (T, bool, error) {
		var none T
		v, ok, err := old.Get(s)
		if err != nil || !ok {
			return none, ok, err
		}
		out, err := read(v)
		if err != nil {
			return none, true, &DecodeError{Channel: k.Name(), Err: fmt.Errorf("migrating %s: %w", old.Name(), err)}
		}
		return out, true, nil
	}
	return k
}

func (k Key[T]) declared() declaration { return k.ch.d }

// Name gives the slot's full name.
func (k Key[T]) Name() string { return k.ch.Name() }

// Get reads the slot; ok is false when it was never written. The error is a
// [*DecodeError].
func (k Key[T]) Get(s State) (value T, ok bool, err error) {
	value, ok, err = k.ch.Get(s)
	if err == nil && !ok && k.older != nil {
		return k.older(s)
	}
	return value, ok, err
}

// Require is Get for what must be there: a [*MissingError] where it is not.
func (k Key[T]) Require(s State) (T, error) {
	value, ok, err := k.Get(s)
	if err == nil && !ok {
		err = &MissingError{Channel: k.Name()}
	}
	return value, err
}

// Set makes a write to the slot.
func (k Key[T]) Set(value T) Write { return k.ch.Put(value) }
