package config

import (
	"fmt"
	"io"
	"reflect"
	"text/tabwriter"
)

// Entry is one variable with its value in effect.
type Entry struct {
	Name   string
	Group  string // heading in the reference, as in "Sign-in"
	Value  string // stars for a secret that is set
	Source Source
	Doc    string

	Default    string   // outside development
	DevDefault string   // in development
	Low, High  string   // range, both included; empty when there is none
	OneOf      []string // the only words allowed; nil when free
	Secret     bool     // NAME_FILE works too
}

// Entries returns every variable, in the order of the reference.
func (c *Config) Entries() []Entry {
	root := reflect.ValueOf(c).Elem()
	var all []Entry
	for _, v := range variables() {
		value := ""
		if v.secret {
			value = root.FieldByIndex(v.index).Interface().(Secret).String()
		} else {
			value = fmt.Sprint(root.FieldByIndex(v.index).Interface())
		}
		all = append(all, Entry{
			Name: v.name, Group: v.group, Value: value, Source: c.sources[v.name], Doc: v.doc,
			Default: v.defaultIn(Production), DevDefault: v.defaultIn(Development),
			Low: v.low, High: v.high, OneOf: v.oneof, Secret: v.secret,
		})
	}
	return all
}

// Print writes every variable with its value in effect and where that came
// from, as a table. Secrets are stars.
func (c *Config) Print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VARIABLE\tVALUE\tSOURCE")
	for _, e := range c.Entries() {
		value := e.Value
		if value == "" {
			value = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", e.Name, value, e.Source)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("printing the configuration: %w", err)
	}
	return nil
}
