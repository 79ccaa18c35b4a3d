// Package arith evaluates arithmetic expressions: exactly with rational numbers
// where that is possible, rounded and marked so where it is not. It runs no
// code and its cost is bounded by the length, depth and size limits below, so
// it is safe on text from a model.
//
// The calculator tool imports it; it imports only the standard library.
package arith

import (
	"fmt"
	"math/big"
)

// Limits on one expression.
const (
	MaxLength = 500     // bytes of text
	MaxDepth  = 50      // nested parentheses, signs and powers
	MaxBits   = 1 << 14 // of a numerator or denominator: about 4,900 digits
)

// Value is a number. Exact is false once a root, a fractional power or a
// transcendental function had to round.
type Value struct {
	Rat   *big.Rat
	Exact bool
	// digits is how many significant digits of an inexact value are right.
	digits int
}

// Error is a mistake in an expression, written for whoever wrote it. Pos
// counts bytes from 1; 0 means the whole.
type Error struct {
	Pos  int
	Text string
}

// Error gives position and text.
func (e *Error) Error() string {
	if e.Pos == 0 {
		return e.Text
	}
	return fmt.Sprintf("at character %d: %s", e.Pos, e.Text)
}

func exact(r *big.Rat) Value { return Value{Rat: r, Exact: true} }

// rounded makes a value of which only some digits are right.
func rounded(r *big.Rat, digits int) Value { return Value{Rat: r, digits: digits} }

// with gives r the exactness of what it was made from.
func with(r *big.Rat, from ...Value) Value {
	out := exact(r)
	for _, v := range from {
		if !v.Exact && (out.Exact || v.digits < out.digits) {
			out = rounded(r, v.digits)
		}
	}
	return out
}

func tooLarge(r *big.Rat) bool {
	return r.Num().BitLen() > MaxBits || r.Denom().BitLen() > MaxBits
}

// isInt gives v as a small whole number.
func (v Value) isInt() (int64, bool) {
	if !v.Rat.IsInt() || !v.Rat.Num().IsInt64() {
		return 0, false
	}
	return v.Rat.Num().Int64(), true
}
