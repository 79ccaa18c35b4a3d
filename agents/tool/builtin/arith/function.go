package arith

import (
	"fmt"
	"math"
	"math/big"
)

// function is a named operation on min to max values.
type function struct {
	min, max int
	run      func(args []Value) (Value, string)
}

// functions is read, never changed.
var functions = map[string]function{
	"sqrt":      {1, 1, func(a []Value) (Value, string) { return root(a[0]) }},
	"abs":       {1, 1, func(a []Value) (Value, string) { return with(new(big.Rat).Abs(a[0].Rat), a[0]), "" }},
	"floor":     {1, 1, func(a []Value) (Value, string) { return whole(floor(a[0].Rat)), "" }},
	"ceil":      {1, 1, func(a []Value) (Value, string) { return whole(ceil(a[0].Rat)), "" }},
	"round":     {1, 2, round},
	"min":       {1, 64, func(a []Value) (Value, string) { return extreme(a, -1), "" }},
	"max":       {1, 64, func(a []Value) (Value, string) { return extreme(a, 1), "" }},
	"factorial": {1, 1, func(a []Value) (Value, string) { return factorial(a[0]) }},
	"ln":        {1, 1, logarithm(math.Log)},
	"log":       {1, 1, logarithm(math.Log10)},
	"log2":      {1, 1, logarithm(math.Log2)},
	"exp":       {1, 1, viaFloat(math.Exp)},
	"sin":       {1, 1, viaFloat(math.Sin)},
	"cos":       {1, 1, viaFloat(math.Cos)},
	"tan":       {1, 1, viaFloat(math.Tan)},
}

func apply(name string, args []Value) (Value, string) {
	f := functions[name]
	if len(args) < f.min || len(args) > f.max {
		if f.min == f.max {
			return Value{}, fmt.Sprintf("takes %d value, not %d", f.min, len(args))
		}
		return Value{}, fmt.Sprintf("takes %d to %d values, not %d", f.min, f.max, len(args))
	}
	return f.run(args)
}

func constant(name string) (Value, bool) {
	var f float64
	switch name {
	case "pi":
		f = math.Pi
	case "e":
		f = math.E
	default:
		return Value{}, false
	}
	return rounded(new(big.Rat).SetFloat64(f), floatDigits), true
}

func whole(i *big.Int) Value { return exact(new(big.Rat).SetInt(i)) }

func ceil(r *big.Rat) *big.Int {
	i := floor(new(big.Rat).Neg(r))
	return i.Neg(i)
}

// maxDecimals bounds the second value of round.
const maxDecimals = 50

// round goes to the nearest, halves away from zero, as people do by hand.
func round(args []Value) (Value, string) {
	decimals := int64(0)
	if len(args) == 2 {
		n, ok := args[1].isInt()
		if !ok || n < 0 || n > maxDecimals {
			return Value{}, fmt.Sprintf("the decimals must be a whole number from 0 to %d", maxDecimals)
		}
		decimals = n
	}
	scale := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(decimals), nil))
	r := new(big.Rat).Mul(new(big.Rat).Abs(args[0].Rat), scale)
	r.SetInt(floor(r.Add(r, big.NewRat(1, 2)))).Quo(r, scale)
	if args[0].Rat.Sign() < 0 {
		r.Neg(r)
	}
	return exact(r), ""
}

func extreme(args []Value, sign int) Value {
	best := args[0]
	for _, v := range args[1:] {
		if v.Rat.Cmp(best.Rat) == sign {
			best = v
		}
	}
	return best
}

func logarithm(f func(float64) float64) func([]Value) (Value, string) {
	return func(a []Value) (Value, string) {
		if a[0].Rat.Sign() <= 0 {
			return Value{}, "needs a number above 0"
		}
		return viaFloat(f)(a)
	}
}

func viaFloat(f func(float64) float64) func([]Value) (Value, string) {
	return func(a []Value) (Value, string) {
		x, _ := a[0].Rat.Float64()
		if math.IsInf(x, 0) {
			return Value{}, large
		}
		return fromFloat(f(x))
	}
}
