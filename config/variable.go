package config

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// variable is one row of the tables in variables.go, read from its tags.
type variable struct {
	name, group, doc string
	field            string // name of the Go field, unique in its group
	index            []int  // path of the field in Config
	kind             reflect.Type
	normal, dev      string // defaults
	hasDev           bool
	low, high        string // range, both empty when there is none
	oneof            []string
	secret           bool
}

// variables lists every variable in the order of the declaration.
func variables() []variable {
	var all []variable
	for _, group := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		title, ok := group.Tag.Lookup("group")
		if !ok {
			continue
		}
		for i := range group.Type.NumField() {
			f := group.Type.Field(i)
			v := variable{
				name:   f.Tag.Get("env"),
				group:  title,
				doc:    f.Tag.Get("doc"),
				field:  f.Name,
				index:  []int{group.Index[0], i},
				kind:   f.Type,
				normal: f.Tag.Get("envDefault"),
				secret: f.Tag.Get("secret") == "true",
			}
			v.dev, v.hasDev = f.Tag.Lookup("devDefault")
			v.low, v.high, _ = strings.Cut(f.Tag.Get("range"), "..")
			if oneof := f.Tag.Get("oneof"); oneof != "" {
				v.oneof = strings.Split(oneof, ",")
			}
			all = append(all, v)
		}
	}
	return all
}

func (v variable) defaultIn(env Environment) string {
	if v.hasDev && env.Development() {
		return v.dev
	}
	return v.normal
}

// parse turns texts into the fields, group by group, and checks each value
// alone: its type, its range, its set of words.
func (c *Config) parse(texts map[string]string, ps *problems) {
	all := variables()
	root := reflect.ValueOf(c).Elem()
	for i := range root.NumField() {
		if _, ok := root.Type().Field(i).Tag.Lookup("group"); !ok {
			continue
		}
		// devDefault may be empty where envDefault is not, and an empty text
		// would bring envDefault back; so env sees no defaults at all.
		err := env.ParseWithOptions(root.Field(i).Addr().Interface(), env.Options{
			Environment:         texts,
			DefaultValueTagName: "-",
		})
		for _, cause := range causes(err) {
			var parse env.ParseError
			if !errors.As(cause, &parse) {
				ps.add("configuration", "%v", cause)
				continue
			}
			at := slices.IndexFunc(all, func(v variable) bool { return v.index[0] == i && v.field == parse.Name })
			ps.add(all[at].name, "%s", all[at].complaint(texts[all[at].name], parse.Err))
		}
	}
	for _, v := range all {
		if text := texts[v.name]; text != "" && !ps.about(v.name) {
			v.checkAlone(root.FieldByIndex(v.index), text, ps)
		}
	}
}

func causes(err error) []error {
	var several env.AggregateError
	if errors.As(err, &several) {
		return several.Errors
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// complaint puts a parser's refusal into our words.
func (v variable) complaint(text string, err error) string {
	switch v.kind {
	case reflect.TypeFor[int]():
		return strconv.Quote(text) + " is not a whole number"
	case reflect.TypeFor[time.Duration]():
		return strconv.Quote(text) + " is not a duration such as 15s or 3m"
	default:
		return err.Error()
	}
}

// checkAlone holds a value against its tags.
func (v variable) checkAlone(value reflect.Value, text string, ps *problems) {
	if len(v.oneof) > 0 && !slices.Contains(v.oneof, text) {
		ps.add(v.name, "%q is not one of %s", text, strings.Join(v.oneof, ", "))
	}
	if v.low == "" {
		return
	}
	if n := value.Int(); n < v.number(v.low) || n > v.number(v.high) {
		ps.add(v.name, "%s is outside %s to %s", text, v.low, v.high)
	}
}

// number reads one end of a range tag; a bad tag is a bug that the tests show.
func (v variable) number(text string) int64 {
	if v.kind == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(text)
		if err != nil {
			panic("config: range of " + v.name + ": " + err.Error())
		}
		return int64(d)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic("config: range of " + v.name + ": " + err.Error())
	}
	return n
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
