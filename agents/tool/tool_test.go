package tool

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

type orderArgs struct {
	Item  string   `json:"item" jsonschema:"what to order"`
	Count int      `json:"count,omitempty" jsonschema:"how many"`
	Size  string   `json:"size,omitempty"`
	Notes []string `json:"notes,omitempty"`
	To    struct {
		City string `json:"city"`
	} `json:"to,omitzero"`
}

func spec(name string) Spec {
	return Spec{Name: name, Description: "Orders things.", Effect: EffectWrite, Review: ReviewNever, Consequence: "An order."}
}

func caller() Invocation {
	return Invocation{Scope: auth.Scope{User: "u1", Org: "o1", Role: auth.RoleMember}, RunID: "r1", CallID: "c1"}
}

func order(t *testing.T) *Typed[orderArgs] {
	t.Helper()
	made, err := New(spec("order"), func(_ context.Context, inv Invocation, a orderArgs) (Result, error) {
		return Text(string(inv.Scope.User)+" ordered "+a.Item, "Ordered"), nil
	}, func(s *jsonschema.Schema) {
		low, high, short := 1.0, 9.0, 1
		s.Properties["count"].Minimum, s.Properties["count"].Maximum = &low, &high
		s.Properties["item"].MinLength = &short
		s.Properties["size"].Enum = []any{"s", "m"}
	})
	require.NoError(t, err)
	return made
}

func TestBadArgumentsAreToldByFieldAndRule(t *testing.T) {
	for args, want := range map[string]map[string]string{
		`{}`:                        {"item": "is required"},
		``:                          {"item": "is required"},
		`{"item":""}`:               {"item": "must not be empty"},
		`{"item":"x","count":12}`:   {"count": "must be at most 9, not 12"},
		`{"item":"x","count":0}`:    {"count": "must be at least 1, not 0"},
		`{"item":"x","count":1.5}`:  {"count": "must be an integer, not a number"},
		`{"item":5,"count":"a"}`:    {"item": "must be a string, not an integer", "count": "must be an integer, not a string"},
		`{"item":"x","size":"xxl"}`: {"size": "must be one of s, m"},
		`{"item":"x","user_id":"mallory"}`: {
			"user_id": "is not an argument of this tool; known are: count, item, notes, size, to",
		},
		`{"item":"x","notes":["a",2]}`: {"notes[1]": "must be a string, not an integer"},
		`{"item":"x","to":{}}`:         {"to.city": "is required"},
		`[]`:                           {"arguments": "must be an object, not an array"},
		`{"item":`:                     {"arguments": "must be valid JSON"},
	} {
		t.Run(args, func(t *testing.T) {
			err := order(t).Check(json.RawMessage(args))
			require.True(t, fault.Is(err, fault.KindInvalid))
			require.Equal(t, want, fault.FieldsOf(err))
			_, err = order(t).Call(t.Context(), caller(), json.RawMessage(args))
			require.Error(t, err)
		})
	}
	require.Error(t, order(t).Check(json.RawMessage(`{"item":"`+strings.Repeat("x", MaxArgs)+`"}`)))
	require.NoError(t, order(t).Check(json.RawMessage(`{"item":"x","count":9,"size":"m","notes":["a"],"to":{"city":"Oslo"}}`)))
}

func TestTheToolActsForTheHostsScopeAndRefusesNone(t *testing.T) {
	r, err := order(t).Call(t.Context(), caller(), json.RawMessage(`{"item":"tea"}`))
	require.NoError(t, err)
	require.Equal(t, "u1 ordered tea", r.Content)
	_, err = order(t).Call(t.Context(), Invocation{}, json.RawMessage(`{"item":"tea"}`))
	require.True(t, fault.Is(err, fault.KindUnauthenticated))
}

func TestASchemaThatAsksForIdentityIsRefused(t *testing.T) {
	for _, name := range []string{"user_id", "userId", "org", "tenant-id", "OWNER", "api_key", "thread_id", "role", "user_email"} {
		_, err := newChecked(&jsonschema.Schema{Type: "object", Properties: map[string]*jsonschema.Schema{name: {Type: "string"}}})
		require.ErrorContains(t, err, "identity", name)
	}
	type deep struct {
		List []struct {
			Who struct {
				Org string `json:"organisation_id"`
			} `json:"who"`
		} `json:"list"`
	}
	_, err := New(spec("x"), func(context.Context, Invocation, deep) (Result, error) { return Result{}, nil })
	require.ErrorContains(t, err, "organisation_id")
}

func TestTheSchemaShowsOnlyArguments(t *testing.T) {
	var s map[string]any
	require.NoError(t, json.Unmarshal(order(t).Spec().Schema, &s))
	require.Equal(t, "object", s["type"])
	require.Equal(t, false, s["additionalProperties"])
	require.Equal(t, []any{"item"}, s["required"])
	require.Len(t, s["properties"], 5)
	require.Equal(t, "what to order", s["properties"].(map[string]any)["item"].(map[string]any)["description"])
}

// pairArgs has a rule that a schema cannot say.
type pairArgs struct {
	Low  int `json:"low"`
	High int `json:"high"`
}

func (a pairArgs) Check() error {
	if a.Low > a.High {
		return fault.Invalid("low", "must not be more than high")
	}
	return nil
}

func TestArgumentsOwnRulesHoldBeforeTheToolRuns(t *testing.T) {
	ran := 0
	made, err := New(spec("range"), func(context.Context, Invocation, pairArgs) (Result, error) {
		ran++
		return Result{}, nil
	})
	require.NoError(t, err)
	bad := json.RawMessage(`{"low":2,"high":1}`)
	require.Equal(t, map[string]string{"low": "must not be more than high"}, fault.FieldsOf(made.Check(bad)))
	_, err = made.Call(t.Context(), caller(), bad)
	require.True(t, fault.Is(err, fault.KindInvalid))
	require.Zero(t, ran)
	_, err = made.Call(t.Context(), caller(), json.RawMessage(`{"low":1,"high":2}`))
	require.NoError(t, err)
	require.Equal(t, 1, ran)
}

func TestIncompleteSpecsAreRefused(t *testing.T) {
	for name, broken := range map[string]Spec{
		"name":        {Name: "a b", Description: "d", Effect: EffectRead, Review: ReviewNever},
		"description": {Name: "a", Effect: EffectRead, Review: ReviewNever},
		"effect":      {Name: "a", Description: "d", Effect: "boom", Review: ReviewNever},
		"review":      {Name: "a", Description: "d", Effect: EffectRead},
		"consequence": {Name: "a", Description: "d", Effect: EffectWrite, Review: ReviewNever},
		"timeout":     {Name: "a", Description: "d", Effect: EffectRead, Review: ReviewNever, Timeout: -1},
	} {
		_, err := New(broken, func(context.Context, Invocation, struct{}) (Result, error) { return Result{}, nil })
		require.ErrorContains(t, err, name)
	}
}

func TestTheRegistryListsAllowedToolsInItsOrder(t *testing.T) {
	var tools []Tool
	for _, name := range []string{"c", "a", "b"} {
		made, err := New(spec(name), func(context.Context, Invocation, struct{}) (Result, error) { return Result{}, nil })
		require.NoError(t, err)
		tools = append(tools, made)
	}
	r, err := NewRegistry(tools...)
	require.NoError(t, err)
	require.Equal(t, []string{"c", "a", "b"}, r.Names())
	specs := r.Specs([]string{"b", "c", "zzz"})
	require.Len(t, specs, 2)
	require.Equal(t, "c", specs[0].Name)
	require.Empty(t, r.Specs(nil))
	_, err = NewRegistry(append(tools, tools[0])...)
	require.ErrorContains(t, err, "taken")
}

func TestAToolOfAGivenSpecJudgesAsTheOneThatTheSpecCameFrom(t *testing.T) {
	from := order(t)
	given, err := FromSpec(from.Spec(), func(_ context.Context, _ Invocation, args json.RawMessage) (Result, error) {
		return Text(string(args), "Ordered"), nil
	})
	require.NoError(t, err)
	require.Equal(t, from.Spec(), given.Spec())
	for _, args := range []string{`{}`, ``, `{"item":""}`, `{"item":"x","count":12}`, `{"item":5}`, `{"item":"x","more":1}`, `{`} {
		require.Equal(t, fault.FieldsOf(from.Check(json.RawMessage(args))), fault.FieldsOf(given.Check(json.RawMessage(args))), args)
		_, err := given.Call(t.Context(), caller(), json.RawMessage(args))
		require.True(t, fault.Is(err, fault.KindInvalid), args)
	}
	got, err := given.Call(t.Context(), caller(), json.RawMessage(`{"item":"tea","to":{"city":"Oslo"}}`))
	require.NoError(t, err)
	require.JSONEq(t, `{"item":"tea","to":{"city":"Oslo"}}`, got.Content)
	for name, schema := range map[string]string{"none": ``, "no object": `{"type":"string"}`, "identity": `{"type":"object","properties":{"user_id":{"type":"string"}}}`} {
		bad := from.Spec()
		bad.Schema = json.RawMessage(schema)
		_, err := FromSpec(bad, nil)
		require.Error(t, err, name)
	}
}
