package argform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"
	"github.com/stretchr/testify/require"
)

// posted is what a browser sends of a form that was rendered: it reads the page
// and sends its controls, line ends as HTML wants them.
func posted(t *testing.T, f Form) map[string]string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, FormOf(f).Render(t.Context(), &b))
	doc, err := goquery.NewDocumentFromReader(&b)
	require.NoError(t, err)
	out := map[string]string{}
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	doc.Find("input").Each(func(_ int, s *goquery.Selection) {
		if _, on := s.Attr("checked"); s.AttrOr("type", "") == "radio" && !on {
			return
		}
		out[s.AttrOr("name", "")] = crlf(s.AttrOr("value", ""))
	})
	doc.Find("textarea").Each(func(_ int, s *goquery.Selection) { out[s.AttrOr("name", "")] = crlf(s.Text()) })
	doc.Find("select").Each(func(_ int, s *goquery.Selection) {
		out[s.AttrOr("name", "")] = s.Find("option[selected]").AttrOr("value", "")
	})
	return out
}

func from(values map[string]string) Get {
	return func(name string) (string, bool) { v, ok := values[name]; return v, ok }
}

const mailSchema = `{"type":"object","additionalProperties":false,"required":["to","subject","body"],"properties":{
	"to":{"type":"string","title":"To"},"subject":{"type":"string"},"body":{"type":"string","contentMediaType":"text/plain"},
	"copies":{"type":"integer"},"weight":{"type":["number","null"]},"urgent":{"type":"boolean"},"lang":{"enum":["de","en",3]},
	"tags":{"type":"array","items":{"type":"string"}},"sizes":{"type":["null","array"],"items":{"type":"integer"}},
	"at":{"type":"object","required":["city"],"properties":{"city":{"type":"string"},"geo":{"type":"object","properties":{"lat":{"type":"number"}}}}},
	"either":{"anyOf":[{"type":"string"},{"type":"integer"}]}}}`

// anyValue is JSON of some kind, spelled in some way.
func anyValue(rnd *rand.Rand, depth int) string {
	texts := []string{`""`, `"a"`, `"\u003cb\u003e \"q\" \\"`, `"two\nlines"`, `"\nfirst"`, `"end\n"`, `"tab\t"`, `"cr\r\n"`, `"\u0000"`, `"🧵 ä"`, `"\ufffd"`, `"&amp;"`, `" x "`, `"\u2028"`,
		`"` + strings.Repeat("long ", 40) + `"`, `"de"`, `"\u0064e"`}
	others := []string{`0`, `-7`, `1.50`, `1e3`, `12345678901234567890123`, `true`, `false`, `null`, `[]`, `["a"]`, `["a","b c"]`, `["", "x"]`, `["l\nm"]`, `[1,2]`, `[1,"a"]`, `[[1]]`, `{}`, `{"city":"Oslo"}`,
		`{"city":"Oslo","geo":{"lat":59.9,"x":1}}`, `{"a":{"b":[null]}}`, `[ 1 , 2 ]`}
	if rnd.IntN(2) == 0 {
		return texts[rnd.IntN(len(texts))]
	}
	if depth > 0 && rnd.IntN(4) == 0 {
		return anyObject(rnd, depth-1)
	}
	return others[rnd.IntN(len(others))]
}

func anyObject(rnd *rand.Rand, depth int) string {
	keys := []string{"to", "subject", "body", "copies", "weight", "urgent", "lang", "tags", "sizes", "at", "either", "un~/known", "", "city", "geo"}
	rnd.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	space := []string{"", " ", "\n\t"}[rnd.IntN(3)]
	var parts []string
	for _, k := range keys[:rnd.IntN(len(keys))] {
		name, _ := json.Marshal(k)
		parts = append(parts, space+string(name)+":"+space+anyValue(rnd, depth))
	}
	return "{" + strings.Join(parts, space+",") + space + "}"
}

func TestAFormPostedAsItWasShownGivesTheSameBytes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		args := json.RawMessage(anyObject(rnd, 2))
		require.True(t, json.Valid(args), string(args))
		f := New(json.RawMessage(mailSchema), args)
		shown, got, ok := f.Read(from(posted(t, f)))
		require.True(t, ok, "%s: %+v", args, shown)
		require.Equal(t, string(args), string(got), "seed %d", seed)
	}
}

func TestAnEditTouchesOnlyWhatWasTyped(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1500) {
		rnd := rand.New(rand.NewPCG(seed, 8))
		args := json.RawMessage(anyObject(rnd, 2))
		f := New(json.RawMessage(mailSchema), args)
		values := posted(t, f)
		values["arg/to"] = "new\r\ntext"
		if text, _ := find(mustMembers(t, args), "to"); text != nil && text[0] != '"' || !plainTo(text) {
			continue // edited as JSON
		}
		_, got, ok := f.Read(from(values))
		require.True(t, ok)
		var before, after map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(args, &before))
		require.NoError(t, json.Unmarshal(got, &after))
		require.Equal(t, `"new\ntext"`, string(after["to"]))
		delete(before, "to")
		delete(after, "to")
		require.Equal(t, before, after, "seed %d: %s", seed, args)
	}
}

func plainTo(raw json.RawMessage) bool { _, ok := scalarText(raw, "string"); return ok }

func mustMembers(t *testing.T, raw json.RawMessage) []member {
	t.Helper()
	m, ok := members(raw)
	require.True(t, ok)
	return m
}

func TestEditsKeepTheirTypes(t *testing.T) {
	t.Parallel()
	const args = `{"to":"bob@example.com","copies":1,"weight":1.50,"urgent":false,"lang":"de","tags":["a"],"sizes":[1],"at":{"city":"Oslo"},"either":5,"extra":{"x":1}}`
	for name, c := range map[string]struct {
		edits map[string]string
		want  string
	}{
		"a whole number":        {map[string]string{"arg/copies": " 12345678901234567890 "}, `"copies":12345678901234567890`},
		"a number":              {map[string]string{"arg/weight": "2.0"}, `"weight":2.0`},
		"yes":                   {map[string]string{"arg/urgent": "true"}, `"urgent":true`},
		"a choice of text":      {map[string]string{"arg/lang": "1"}, `"lang":"en"`},
		"a choice of number":    {map[string]string{"arg/lang": "2"}, `"lang":3`},
		"a list":                {map[string]string{"arg/tags": "a\r\n\r\nb \"c\""}, `"tags":["a","b \"c\""]`},
		"an emptied list":       {map[string]string{"arg/tags": ""}, `"tags":[]`},
		"a list of numbers":     {map[string]string{"arg/sizes": "1\n2"}, `"sizes":[1,2]`},
		"inside":                {map[string]string{"arg/at/city": "Rome"}, `"at":{"city":"Rome"}`},
		"deeper, new":           {map[string]string{"arg/at/geo/lat": "41.9"}, `"at":{"city":"Oslo","geo":{"lat":41.9}}`},
		"what the schema mixes": {map[string]string{"arg/either": `"five"`}, `"either":"five"`},
		"what it does not name": {map[string]string{"arg/extra": `[1, 2]`}, `"extra":[1,2]`},
		"an optional one goes":  {map[string]string{"arg/copies": ""}, `{"to":"bob@example.com","weight"`},
		"a new one comes last":  {map[string]string{"arg/body": "a\nb"}, `"extra":{"x":1},"body":"a\nb"}`},
	} {
		f := New(json.RawMessage(mailSchema), json.RawMessage(args))
		values := posted(t, f)
		for k, v := range c.edits {
			require.Contains(t, values, k, name)
			values[k] = v
		}
		shown, got, ok := f.Read(from(values))
		require.True(t, ok, "%s: %+v", name, shown)
		require.Contains(t, string(got), c.want, name)
	}
}

func TestWhatCannotBeReadComesBackAsTyped(t *testing.T) {
	t.Parallel()
	f := New(json.RawMessage(mailSchema), json.RawMessage(`{"copies":1,"weight":2,"sizes":[1],"extra":1,"lang":"de","at":{"city":"x"}}`))
	values := posted(t, f)
	for k, v := range map[string]string{"arg/copies": "1.5", "arg/weight": "heavy", "arg/sizes": "1\nx", "arg/extra": "", "arg/lang": "9", "arg/subject": "kept"} {
		values[k] = v
	}
	shown, args, ok := f.Read(from(values))
	require.False(t, ok)
	require.Nil(t, args)
	errors, kept := map[string]string{}, map[string]string{}
	for _, l := range leaves(shown.Fields) {
		if l.Error != "" {
			errors[l.Path] = l.Error
		}
		kept[l.Path] = l.Value
	}
	require.Equal(t, map[string]string{"copies": "Must be a whole number.", "weight": "Must be a number.", "sizes": "Line 2 must be a whole number.", "lang": "Must be one of the choices."}, errors)
	require.Equal(t, "1.5", kept["copies"])
	require.Equal(t, "kept", kept["subject"])
	again, _, ok := f.Read(from(posted(t, shown)))
	require.False(t, ok, "and posted again it is still broken")
	require.Equal(t, shown.Fields[3].Value, again.Fields[3].Value)
}

func TestOfFormAndRawTheOneThatWasEditedWins(t *testing.T) {
	t.Parallel()
	f := New(json.RawMessage(mailSchema), json.RawMessage(`{"to":"a"}`))
	for name, c := range map[string]struct {
		to, raw, use, want string
	}{
		"neither":              {"a", "", "raw", `{"to":"a"}`},
		"the form":             {"b", "", "raw", `{"to":"b"}`},
		"the raw":              {"a", `{"to": "c"}`, "form", `{"to":"c"}`},
		"both, form chosen":    {"b", `{"to": "c"}`, "form", `{"to":"b"}`},
		"both, raw chosen":     {"b", `{"to": "c"}`, "raw", `{"to":"c"}`},
		"the raw, only spaces": {"a", ` {"to": "a"}`, "form", `{"to":"a"}`},
	} {
		values := posted(t, f)
		values["arg/to"], values[NameUse] = c.to, c.use
		if c.raw != "" {
			values[NameRaw] = c.raw
		}
		_, got, ok := f.Read(from(values))
		require.True(t, ok, name)
		require.Equal(t, c.want, string(got), name)
	}
	values := posted(t, f)
	values[NameRaw] = "{\n\"to\": }"
	shown, _, ok := f.Read(from(values))
	require.False(t, ok)
	require.Contains(t, shown.RawError, "Must be valid JSON: line 2")
	require.Equal(t, "{\n\"to\": }", shown.Raw)
}

func TestRulesOfTheToolStandBesideTheirFields(t *testing.T) {
	t.Parallel()
	f := New(json.RawMessage(mailSchema), json.RawMessage(`{"to":"a","tags":["x"],"at":{"city":"Oslo"}}`))
	f = f.WithErrors(map[string]string{"to": "must be an address", "tags[0]": "must be short", "at.city": "is unknown", "at.street": "is required", "arguments": "do not fit"})
	found := map[string]string{}
	for _, x := range f.Fields {
		found[x.Path] = x.Error
		for _, y := range x.Fields {
			found[y.Path] = y.Error
		}
	}
	require.Equal(t, "Must be an address.", found["to"])
	require.Equal(t, "[0] must be short.", found["tags"])
	require.Equal(t, "Is unknown.", found["at.city"])
	require.Equal(t, "Street is required.", found["at"])
	require.Equal(t, "Do not fit.", f.Error)
}

func TestWhatIsNoObjectIsEditedAsJSON(t *testing.T) {
	t.Parallel()
	for _, args := range []string{`[1,2]`, `"x"`, `{"a":1,"a":2}`, `5`} {
		f := New(json.RawMessage(mailSchema), json.RawMessage(args))
		require.Empty(t, f.Fields)
		_, got, ok := f.Read(from(posted(t, f)))
		require.True(t, ok)
		require.Equal(t, args, string(got))
	}
	f := New(json.RawMessage(`{`), json.RawMessage(`{"a":1}`))
	require.Equal(t, Raw, f.Fields[0].Kind, "without a schema")
}

func TestTheDecidedArgumentsAreToldFromTheProposed(t *testing.T) {
	t.Parallel()
	f := Between(json.RawMessage(mailSchema), json.RawMessage(`{"to":"bob@example.com","body":"We ship on Friday","urgent":false,"copies":2}`),
		json.RawMessage(`{"to":"bob@example.com","body":"We ship on Monday","urgent":true}`))
	got := map[string]string{}
	for _, l := range leaves(f.Fields) {
		if len(l.Diff) > 0 {
			got[l.Path] = fmt.Sprint(l.Diff)
		}
	}
	require.Equal(t, map[string]string{"body": "[{same We ship on } {del Friday} {ins Monday}]", "urgent": "[{del No} {ins Yes}]", "copies": "[{del 2}]"}, got)
	require.NotEmpty(t, f.RawDiff)
}

func TestEveryControlHasItsOwnIdAndLabel(t *testing.T) {
	t.Parallel()
	f := New(json.RawMessage(`{}`), json.RawMessage(`{"a b":1,"a_b":2,"a/b":3,"ä":4,"":5}`))
	seen := map[string]bool{}
	for _, x := range f.Fields {
		require.False(t, seen[x.id()], x.id())
		seen[x.id()] = true
		require.NotContains(t, x.id(), " ")
	}
}
