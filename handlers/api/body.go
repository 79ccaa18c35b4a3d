package api

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/heddle/heddle/internal/fault"
)

// What PostgreSQL's jsonb can't hold or compare, a request may not bring: its
// verbatim parts (metadata, config, tool arguments) are stored as they came.
const (
	maxDepth       = 256
	maxNumberBytes = 400
)

// Storable checks JSON that came in a field of a form as it checks a body.
func Storable(field string, raw []byte) error {
	err := storable(raw)
	if rules := fault.FieldsOf(err); rules != nil {
		return fault.Invalid(field, rules["body"])
	}
	return err
}

// storable checks a body that is valid JSON. The fault names the rule, and the
// body as the field: where in it the mistake stands is not known.
func storable(body []byte) error {
	if !utf8.Valid(body) {
		return fault.Invalid("body", "must be valid UTF-8")
	}
	if err := storableEscapes(body); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	depth := 0
	for {
		token, err := d.Token()
		if err != nil {
			return nil // the end: the body was read before and is valid
		}
		switch token := token.(type) {
		case json.Delim:
			if token == '{' || token == '[' {
				depth++
			} else {
				depth--
			}
			if depth > maxDepth {
				return fault.Invalid("body", "must not be nested deeper than "+strconv.Itoa(maxDepth)+" levels")
			}
		case json.Number:
			if !storableNumber(string(token)) {
				return fault.Invalid("body", "holds a number that is too large, too small or too long")
			}
		}
	}
}

// storableNumber reports whether a number is within the range of a float64 and
// not lost to zero.
func storableNumber(text string) bool {
	f, err := strconv.ParseFloat(text, 64)
	digits, _, _ := strings.Cut(strings.ToLower(text), "e")
	return err == nil && len(text) <= maxNumberBytes && (f != 0 || strings.Trim(digits, "-0.") == "")
}

// storableEscapes looks for \u0000 and for half a surrogate pair. A backslash
// stands only inside strings, and each begins an escape.
func storableEscapes(body []byte) error {
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		i++
		if body[i] != 'u' {
			continue
		}
		first := hex4(body[i+1:])
		i += 4
		switch {
		case first == 0:
			return fault.Invalid("body", "must not contain NUL characters")
		case !utf16.IsSurrogate(first):
			continue
		case i+6 < len(body) && body[i+1] == '\\' && body[i+2] == 'u' && utf16.DecodeRune(first, hex4(body[i+3:])) != utf8.RuneError:
			i += 6
		default:
			return fault.Invalid("body", "holds half of a surrogate pair, which is no character")
		}
	}
	return nil
}

// hex4 reads four hexadecimal digits, which valid JSON has after \u.
func hex4(b []byte) rune {
	n, err := strconv.ParseUint(string(b[:4]), 16, 16)
	if err != nil {
		return utf8.RuneError
	}
	return rune(n)
}
