package arith

import (
	"math/big"
	"strings"
)

// maxExactDecimals is how long a decimal fraction is written out in full.
const maxExactDecimals = 30

// quotientDigits are shown of a fraction that has no end, such as 1/3.
const quotientDigits = 20

// String writes v as a decimal number: whole numbers and short fractions in
// full, everything else rounded to the digits that are right.
func (v Value) String() string {
	if v.Exact {
		if v.Rat.IsInt() {
			return v.Rat.Num().String()
		}
		if n, ends := decimals(v.Rat.Denom()); ends && n <= maxExactDecimals {
			return v.Rat.FloatString(n)
		}
	}
	digits := quotientDigits
	if !v.Exact {
		digits = v.digits
	}
	f := new(big.Float).SetPrec(512).SetRat(v.Rat)
	text := f.Text('g', digits)
	mantissa, exponent, has := strings.Cut(text, "e")
	if strings.Contains(mantissa, ".") {
		mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	}
	if has {
		return mantissa + "e" + exponent
	}
	return mantissa
}

// Rounded reports whether the text of [Value.String] is not the whole truth.
func (v Value) Rounded() bool {
	if !v.Exact {
		return true
	}
	n, ends := decimals(v.Rat.Denom())
	return !ends || n > maxExactDecimals
}

// decimals counts the places of 1/den and whether they end.
func decimals(den *big.Int) (n int, ends bool) {
	d := new(big.Int).Set(den)
	count := func(p int64) int {
		prime, rest, times := big.NewInt(p), new(big.Int), 0
		for {
			q, r := new(big.Int).QuoRem(d, prime, rest)
			if r.Sign() != 0 {
				return times
			}
			d.Set(q)
			times++
		}
	}
	n = max(count(2), count(5))
	return n, d.IsInt64() && d.Int64() == 1
}
