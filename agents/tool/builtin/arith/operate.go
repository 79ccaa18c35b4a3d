package arith

import (
	"math"
	"math/big"
)

// Failures of an operation, in words.
const (
	large   = "the result is too large"
	byZero  = "division by zero"
	notReal = "the result would not be a real number"
)

// binary applies an operator; why is "" when it worked.
func binary(mark byte, a, b Value) (v Value, why string) {
	r := new(big.Rat)
	switch mark {
	case '+':
		r.Add(a.Rat, b.Rat)
	case '-':
		r.Sub(a.Rat, b.Rat)
	case '*':
		r.Mul(a.Rat, b.Rat)
	case '^':
		return pow(a, b)
	default: // / and %
		if b.Rat.Sign() == 0 {
			return Value{}, byZero
		}
		r.Quo(a.Rat, b.Rat)
		if mark == '%' {
			// The remainder has the sign of b, as on a clock: -1 % 12 is 11.
			whole := new(big.Rat).SetInt(floor(r))
			r.Sub(a.Rat, whole.Mul(whole, b.Rat))
		}
	}
	if tooLarge(r) {
		return Value{}, large
	}
	return with(r, a, b), ""
}

func pow(a, b Value) (Value, string) {
	n, whole := b.isInt()
	if !whole {
		if b.Rat.IsInt() {
			return Value{}, large
		}
		if a.Rat.Sign() < 0 {
			return Value{}, notReal
		}
		if b.Rat.Cmp(big.NewRat(1, 2)) == 0 {
			return root(a)
		}
		if a.Rat.Sign() == 0 && b.Rat.Sign() < 0 {
			return Value{}, byZero
		}
		x, _ := a.Rat.Float64()
		y, _ := b.Rat.Float64()
		return fromFloat(math.Pow(x, y))
	}
	if n < 0 && a.Rat.Sign() == 0 {
		return Value{}, byZero
	}
	size := int64(max(a.Rat.Num().BitLen(), a.Rat.Denom().BitLen()))
	steps := n
	if steps < 0 {
		steps = -steps
	}
	// 0, 1 and -1 stay small whatever the exponent.
	if size > 1 && (steps < 0 || steps > MaxBits || (size-1)*steps > MaxBits) {
		return Value{}, large
	}
	if size <= 1 {
		steps = steps & 1
		if n == 0 {
			return with(big.NewRat(1, 1), a, b), ""
		}
		if steps == 0 {
			return with(new(big.Rat).Abs(a.Rat), a, b), ""
		}
	}
	e := big.NewInt(steps)
	num := new(big.Int).Exp(a.Rat.Num(), e, nil)
	den := new(big.Int).Exp(a.Rat.Denom(), e, nil)
	if n < 0 {
		num, den = den, num
	}
	r := new(big.Rat).SetFrac(num, den)
	if tooLarge(r) {
		return Value{}, large
	}
	return with(r, a, b), ""
}

// rootBits is the working precision of square roots; rootDigits of it are told.
const (
	rootBits   = 256
	rootDigits = 20
)

func root(a Value) (Value, string) {
	if a.Rat.Sign() < 0 {
		return Value{}, notReal
	}
	num, den := new(big.Int).Sqrt(a.Rat.Num()), new(big.Int).Sqrt(a.Rat.Denom())
	r := new(big.Rat).SetFrac(num, den)
	if new(big.Rat).Mul(r, r).Cmp(a.Rat) == 0 {
		return with(r, a), ""
	}
	f := new(big.Float).SetPrec(rootBits).SetRat(a.Rat)
	r, _ = f.Sqrt(f).Rat(nil)
	return with(r, a, rounded(r, rootDigits)), ""
}

// floatDigits of a float64 are always right.
const floatDigits = 15

func fromFloat(f float64) (Value, string) {
	switch {
	case math.IsNaN(f):
		return Value{}, notReal
	case math.IsInf(f, 0):
		return Value{}, large
	}
	return rounded(new(big.Rat).SetFloat64(f), floatDigits), ""
}

func floor(r *big.Rat) *big.Int {
	// Euclidean division rounds down, because the denominator is positive.
	return new(big.Int).Div(r.Num(), r.Denom())
}

// maxFactorial keeps n! within [MaxBits].
const maxFactorial = 1000

func factorial(v Value) (Value, string) {
	n, ok := v.isInt()
	if !ok || n < 0 {
		return Value{}, "a factorial needs a whole number from 0"
	}
	if n > maxFactorial {
		return Value{}, large
	}
	return with(new(big.Rat).SetInt(new(big.Int).MulRange(1, n)), v), ""
}
