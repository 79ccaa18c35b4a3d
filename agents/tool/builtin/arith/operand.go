package arith

import (
	"math/big"
	"strconv"
	"strings"
)

// maxExponent bounds the power of ten of a number such as 1e6.
const maxExponent = 1000

// number reads 12, 1.5, .5, 1e-3 and, outside of argument lists, 1,234,567.
func (p *parser) number() (Value, error) {
	start := p.pos
	for p.pos < len(p.text) && (digit(p.text[p.pos]) || p.group()) {
		p.pos++
	}
	if p.pos < len(p.text) && p.text[p.pos] == '.' {
		p.pos++
		for p.pos < len(p.text) && digit(p.text[p.pos]) {
			p.pos++
		}
	}
	mantissa := strings.NewReplacer(",", "", "_", "").Replace(p.text[start:p.pos])
	if mantissa == "." {
		p.pos = start
		return Value{}, p.fail("digits were expected beside the point")
	}
	exponent, err := p.exponent()
	if err != nil {
		return Value{}, err
	}
	r, ok := new(big.Rat).SetString(mantissa + exponent)
	if !ok {
		p.pos = start
		return Value{}, p.fail("%q is no number", mantissa+exponent)
	}
	if p.pos < len(p.text) && p.text[p.pos] == '.' {
		return Value{}, p.fail("a number has one point at most")
	}
	return exact(r), nil
}

// group reports whether a mark between groups of three digits stands here.
func (p *parser) group() bool {
	rest := p.text[p.pos:]
	if rest[0] == '_' {
		return len(rest) > 1 && digit(rest[1])
	}
	return rest[0] == ',' && p.args == 0 && len(rest) > 3 &&
		digit(rest[1]) && digit(rest[2]) && digit(rest[3]) && (len(rest) == 4 || !digit(rest[4]))
}

func (p *parser) exponent() (string, error) {
	at := p.pos
	if at >= len(p.text) || p.text[at] != 'e' && p.text[at] != 'E' {
		return "", nil
	}
	if at++; at < len(p.text) && (p.text[at] == '+' || p.text[at] == '-') {
		at++
	}
	digits := at
	for at < len(p.text) && digit(p.text[at]) {
		at++
	}
	if at == digits {
		return "", nil // the e is a name, and an operator is missing
	}
	if n, err := strconv.Atoi(p.text[digits:at]); err != nil || n > maxExponent {
		return "", p.fail("the exponent must be at most %d", maxExponent)
	}
	text := p.text[p.pos:at]
	p.pos = at
	return text, nil
}

// name reads a constant or a function with its arguments.
func (p *parser) name() (Value, error) {
	start := p.pos
	for p.pos < len(p.text) && (letter(p.text[p.pos]) || digit(p.text[p.pos])) {
		p.pos++
	}
	name := strings.ToLower(p.text[start:p.pos])
	if v, ok := constant(name); ok {
		return v, nil
	}
	if _, ok := functions[name]; !ok {
		p.pos = start
		return Value{}, p.fail("%q is neither a function nor a constant", name)
	}
	if _, ok := p.accept("("); !ok {
		return Value{}, p.fail("( was expected after %s", name)
	}
	p.args++
	defer func() { p.args-- }()
	var args []Value
	for {
		v, err := p.sum()
		if err != nil {
			return Value{}, err
		}
		args = append(args, v)
		if _, more := p.accept(","); !more {
			break
		}
	}
	if err := p.close(); err != nil {
		return Value{}, err
	}
	return p.call(start+1, name, args)
}

func (p *parser) call(at int, name string, args []Value) (Value, error) {
	v, why := apply(name, args)
	if why != "" {
		return Value{}, &Error{Pos: at, Text: name + ": " + why}
	}
	return v, nil
}
