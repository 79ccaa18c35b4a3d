package arith

import (
	"fmt"
	"math/big"
	"strings"
	"unicode/utf8"
)

// Eval works out one expression.
//
//	sum     = product { ("+" | "-") product }
//	product = signed { ("*" | "/" | "%") signed }
//	signed  = ("-" | "+") signed | power
//	power   = postfix [ "^" signed ]           right-associative, before signs
//	postfix = primary { "!" | "%" }            "%" only when no operand follows
//	primary = NUMBER | NAME [ "(" sum { "," sum } ")" ] | "(" sum ")"
func Eval(text string) (Value, error) {
	if len(text) > MaxLength {
		return Value{}, &Error{Text: fmt.Sprintf("is longer than %d characters", MaxLength)}
	}
	p := &parser{text: text}
	v, err := p.sum()
	if err != nil {
		return Value{}, err
	}
	if p.space(); p.pos < len(p.text) {
		return Value{}, p.fail("an operator was expected before %s", p.here())
	}
	return v, nil
}

type parser struct {
	text  string
	pos   int
	depth int
	args  int // how many argument lists are open: a comma there is no digit mark
}

// operators maps other spellings to ours.
var spellings = map[rune]byte{'×': '*', '·': '*', '÷': '/', '−': '-', '–': '-'}

func (p *parser) fail(format string, args ...any) error {
	return &Error{Pos: p.pos + 1, Text: fmt.Sprintf(format, args...)}
}

// here names what stands at the position, for messages.
func (p *parser) here() string {
	if p.space(); p.pos >= len(p.text) {
		return "the end"
	}
	r, _ := utf8.DecodeRuneInString(p.text[p.pos:])
	return fmt.Sprintf("%q", string(r))
}

func (p *parser) space() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// peek gives the operator or mark at the position and its length in bytes.
func (p *parser) peek() (mark byte, size int) {
	if p.space(); p.pos >= len(p.text) {
		return 0, 0
	}
	r, size := utf8.DecodeRuneInString(p.text[p.pos:])
	if mark, ok := spellings[r]; ok {
		return mark, size
	}
	if strings.HasPrefix(p.text[p.pos:], "**") {
		return '^', 2
	}
	if r < utf8.RuneSelf {
		return byte(r), size
	}
	return 0, size
}

func (p *parser) accept(marks string) (byte, bool) {
	mark, size := p.peek()
	if mark == 0 || strings.IndexByte(marks, mark) < 0 {
		return 0, false
	}
	p.pos += size
	return mark, true
}

func (p *parser) enter() error {
	if p.depth++; p.depth > MaxDepth {
		return p.fail("nested deeper than %d", MaxDepth)
	}
	return nil
}

func (p *parser) sum() (Value, error) {
	if err := p.enter(); err != nil {
		return Value{}, err
	}
	defer func() { p.depth-- }()
	return p.chain("+-", p.product)
}

func (p *parser) product() (Value, error) { return p.chain("*/%", p.signed) }

func (p *parser) chain(marks string, operand func() (Value, error)) (Value, error) {
	left, err := operand()
	for err == nil {
		mark, ok := p.accept(marks)
		if !ok {
			return left, nil
		}
		at := p.pos
		var right Value
		if right, err = operand(); err == nil {
			left, err = p.apply(at, mark, left, right)
		}
	}
	return Value{}, err
}

func (p *parser) apply(at int, mark byte, a, b Value) (Value, error) {
	v, why := binary(mark, a, b)
	if why != "" {
		return Value{}, &Error{Pos: at, Text: why}
	}
	return v, nil
}

func (p *parser) signed() (Value, error) {
	mark, ok := p.accept("+-")
	if !ok {
		return p.power()
	}
	if err := p.enter(); err != nil {
		return Value{}, err
	}
	defer func() { p.depth-- }()
	v, err := p.signed()
	if err != nil || mark == '+' {
		return v, err
	}
	return with(new(big.Rat).Neg(v.Rat), v), nil
}

func (p *parser) power() (Value, error) {
	base, err := p.postfix()
	if err != nil {
		return Value{}, err
	}
	if _, ok := p.accept("^"); !ok {
		return base, nil
	}
	at := p.pos
	if err := p.enter(); err != nil {
		return Value{}, err
	}
	defer func() { p.depth-- }()
	exponent, err := p.signed()
	if err != nil {
		return Value{}, err
	}
	return p.apply(at, '^', base, exponent)
}

func (p *parser) postfix() (Value, error) {
	v, err := p.primary()
	for err == nil {
		at := p.pos
		mark, ok := p.accept("!%")
		if !ok {
			return v, nil
		}
		if mark == '%' {
			if p.operandFollows() {
				p.pos = at
				return v, nil
			}
			v = with(new(big.Rat).Quo(v.Rat, big.NewRat(100, 1)), v)
			continue
		}
		var why string
		if v, why = factorial(v); why != "" {
			err = &Error{Pos: p.pos, Text: why}
		}
	}
	return Value{}, err
}

// operandFollows decides whether % is a remainder. A sign does not count:
// "50% - 3" takes three from a half.
func (p *parser) operandFollows() bool {
	mark, _ := p.peek()
	return mark == '(' || mark == '.' || digit(mark) || letter(mark) || strings.HasPrefix(p.text[p.pos:], "√")
}

func (p *parser) primary() (Value, error) {
	mark, _ := p.peek()
	switch {
	case digit(mark) || mark == '.':
		return p.number()
	case letter(mark):
		return p.name()
	case mark == '(':
		p.pos++
		outer := p.args
		p.args = 0
		v, err := p.sum()
		p.args = outer
		if err != nil {
			return Value{}, err
		}
		return v, p.close()
	case strings.HasPrefix(p.text[p.pos:], "√"):
		p.pos += len("√")
		if err := p.enter(); err != nil {
			return Value{}, err
		}
		defer func() { p.depth-- }()
		at := p.pos
		v, err := p.primary()
		if err != nil {
			return Value{}, err
		}
		return p.call(at, "sqrt", []Value{v})
	default:
		return Value{}, p.fail("a number, a name or ( was expected, not %s", p.here())
	}
}

func (p *parser) close() error {
	if _, ok := p.accept(")"); !ok {
		return p.fail(") was expected, not %s", p.here())
	}
	return nil
}

func digit(c byte) bool  { return c >= '0' && c <= '9' }
func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
