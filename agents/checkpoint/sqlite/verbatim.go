package sqlite

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
)

// encode writes a value as encoding/json does, but leaves raw JSON inside it byte
// for byte as it is: encoding/json would take out its white space and escape its
// text, and what a person approved must be what is stored.
//
// Raw JSON is written as a number that nothing else is written as, mark and its
// place in raws, and then put in.
func encode(value any) (string, error) {
	var raws []json.RawMessage
	marked, err := markRaws(reflect.ValueOf(value), &raws)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(marked.Interface()); err != nil {
		return "", err
	}
	return putIn(bytes.TrimSuffix(out.Bytes(), []byte("\n")), raws), nil
}

// mark begins a number whose form encoding/json never gives one.
const mark = "-0e"

var rawType = reflect.TypeFor[json.RawMessage]()

// markRaws copies a value with marks instead of its raw JSON.
func markRaws(v reflect.Value, raws *[]json.RawMessage) (reflect.Value, error) {
	if v.Type() == rawType {
		raw := v.Interface().(json.RawMessage)
		if len(raw) == 0 {
			return v, nil
		}
		if !json.Valid(raw) {
			return v, errors.New("what should be JSON is none")
		}
		*raws = append(*raws, raw)
		return reflect.ValueOf(json.RawMessage(mark + strconv.Itoa(len(*raws)-1))), nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return v, nil
		}
		inner, err := markRaws(v.Elem(), raws)
		if err != nil {
			return v, err
		}
		out := reflect.New(v.Type().Elem())
		out.Elem().Set(inner)
		return out, nil
	case reflect.Struct:
		out := reflect.New(v.Type()).Elem()
		out.Set(v)
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				continue
			}
			inner, err := markRaws(v.Field(i), raws)
			if err != nil {
				return v, err
			}
			out.Field(i).Set(inner)
		}
		return out, nil
	case reflect.Slice:
		if v.IsNil() {
			return v, nil
		}
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			inner, err := markRaws(v.Index(i), raws)
			if err != nil {
				return v, err
			}
			out.Index(i).Set(inner)
		}
		return out, nil
	case reflect.Map:
		if v.IsNil() {
			return v, nil
		}
		out := reflect.MakeMapWithSize(v.Type(), v.Len())
		for at := v.MapRange(); at.Next(); {
			inner, err := markRaws(at.Value(), raws)
			if err != nil {
				return v, err
			}
			out.SetMapIndex(at.Key(), inner)
		}
		return out, nil
	default:
		return v, nil
	}
}

// putIn puts raw JSON where its marks stand, which is never inside a text.
func putIn(text []byte, raws []json.RawMessage) string {
	size := len(text)
	for _, r := range raws {
		size += len(r)
	}
	out := make([]byte, 0, size)
	quoted := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quoted && c == '\\':
			out = append(out, c, text[i+1])
			i++
			continue
		case c == '"':
			quoted = !quoted
		case !quoted && bytes.HasPrefix(text[i:], []byte(mark)):
			i += len(mark)
			n := 0
			for ; i < len(text) && '0' <= text[i] && text[i] <= '9'; i++ {
				n = 10*n + int(text[i]-'0')
			}
			out = append(out, raws[n]...)
			i-- // the loop goes on
			continue
		}
		out = append(out, c)
	}
	return string(out)
}
