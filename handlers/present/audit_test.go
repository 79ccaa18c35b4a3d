package present_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/views/admin"
)

func TestAnActionIsSaidInWords(t *testing.T) {
	t.Parallel()
	require.Equal(t, "Changed the role of", present.ActionWords("member.role_changed"))
	require.Equal(t, "Loom warp threaded", present.ActionWords("loom.warp_threaded"))
	require.Empty(t, present.ActionWords(""))
}

func TestChangesAreTheFieldsThatDiffer(t *testing.T) {
	t.Parallel()
	names := map[auth.UserID]string{"u-1": "Mia"}
	for name, c := range map[string]struct {
		before, after string
		want          []admin.AuditChange
	}{
		"Same":    {`{"a":1,"b":{"c":2}}`, `{"b":{"c":2},"a":1}`, nil},
		"Text":    {`{"a":"x","b":1}`, `{"a":"y\nz","b":1}`, []admin.AuditChange{{Field: "a", Before: "x", After: "y\nz"}}},
		"Nested":  {`{"a":{"b":{"c":1}}}`, `{"a":{"b":{"c":2,"d":[1, 2]}}}`, []admin.AuditChange{{Field: "a.b.c", Before: "1", After: "2"}, {Field: "a.b.d", After: "[1, 2]"}}},
		"Added":   {``, `{"a":""}`, []admin.AuditChange{{Field: "a", After: "(empty)"}}},
		"Removed": {`{"a":null,"b":{}}`, ``, []admin.AuditChange{{Field: "a", Before: "(none)"}, {Field: "b", Before: "{}"}}},
		"Kind":    {`{"a":{"b":1}}`, `{"a":3}`, []admin.AuditChange{{Field: "a", After: "3"}, {Field: "a.b", Before: "1"}}},
		"Person":  {`{"owner":"u-1"}`, `{"owner":"u-2"}`, []admin.AuditChange{{Field: "owner", Before: "Mia", After: "u-2"}}},
		"Exact":   {`{"n":1.0}`, `{"n":12345678901234567890}`, []admin.AuditChange{{Field: "n", Before: "1.0", After: "12345678901234567890"}}},
		"NoJSON":  {`{`, `[1]`, nil},
	} {
		require.Equal(t, c.want, present.Changes(json.RawMessage(c.before), json.RawMessage(c.after), names), name)
	}
	var many []string
	for n := range 500 {
		many = append(many, fmt.Sprintf(`"f%d":%q`, n, strings.Repeat("é", 5000)))
	}
	got := present.Changes(nil, json.RawMessage("{"+strings.Join(many, ",")+"}"), names)
	require.Len(t, got, 61)
	require.LessOrEqual(t, utf8.RuneCountInString(got[0].After), 601)
}

func TestAnEntryOfTheLogIsSaidForPeople(t *testing.T) {
	t.Parallel()
	row := auth.AuditRow{AuditEntry: auth.AuditEntry{Seq: 7, Actor: "0198f3c2-7a10-7c3e-9a55-0c1d2e3f4a5b", Via: auth.ViaAPI, IP: "192.0.2.1",
		Action: "thread.read_by_admin", ObjectKind: "thread", ObjectID: "t/1", Hash: []byte{0xab}}}
	e := present.AuditEntry(row, nil)
	require.Equal(t, []string{"7", "Former member 2e3f4a5b", "Opened the private thread", "New thread", "/threads/t%2F1", "API key", "192.0.2.1"},
		[]string{e.ID, e.Who, e.Words, e.Object, e.ObjectHref, e.Door, e.Address})
	require.Contains(t, e.Facts, admin.AuditFact{Name: "Hash", Value: "ab"})
	row.Actor, row.Via, row.Action, row.ObjectKind, row.ObjectID = "", auth.ViaSystem, "loom.unpicked", "loom_part", "x"
	e = present.AuditEntry(row, nil)
	require.Equal(t, []string{"Nobody", "Loom unpicked", "loom part x", "", "Server"}, []string{e.Who, e.Words, e.Object, e.ObjectHref, e.Door})
	require.Equal(t, "1,234,567 entries, 1 entry, 0 entries, 999", present.Count(1234567, "entry", "entries")+", "+present.Count(1, "entry", "entries")+
		", "+present.Count(0, "entry", "entries")+", "+present.Number(999))
}
