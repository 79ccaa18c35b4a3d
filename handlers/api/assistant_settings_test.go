package api

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/fault"
)

func TestEverySettingOfAnAssistantHasASchema(t *testing.T) {
	var want []string
	for f := range reflect.TypeFor[agents.AssistantConfig]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !slices.Contains([]string{"recursion_limit", "params", "tags", "carried"}, name) { // they stand elsewhere in config
			want = append(want, name)
		}
	}
	require.ElementsMatch(t, want, slices.Collect(maps.Keys(settingSchemas(nil, nil))))
}

// TestTheSchemasBoundsAreTheRules tries each number's bounds and what lies just
// beyond them.
func TestTheSchemasBoundsAreTheRules(t *testing.T) {
	tried := 0
	for name, schema := range settingSchemas(nil, nil) {
		low, ok := schema["minimum"].(int)
		if !ok {
			continue
		}
		tried++
		high := schema["maximum"].(int)
		for value, fits := range map[int]bool{low: true, high: true, low - 1: false, high + 1: false} {
			raw, err := json.Marshal(map[string]any{"configurable": map[string]any{name: value}})
			require.NoError(t, err)
			broken := map[string]string{}
			config := readConfig(raw, broken)
			require.Empty(t, broken)
			require.Equal(t, fits, fault.FieldsOf(config.Validate())[name] == "", "%s of %d", name, value)
		}
		if value, ok := schema["default"].(json.RawMessage); ok {
			var n float64
			require.NoError(t, json.Unmarshal(value, &n))
			require.True(t, n >= float64(low) && n <= float64(high), name)
		}
	}
	require.Equal(t, 7, tried)
}

func TestWhatAConfigHoldsComesBack(t *testing.T) {
	for name, c := range map[string]struct{ in, out string }{
		"nothing":            {`{}`, `{}`},
		"null is absent":     {`{"tags":null,"recursion_limit":null,"configurable":{"temperature":null}}`, `{}`},
		"settings":           {`{"recursion_limit":7,"configurable":{"temperature":0,"tools":["search"],"enable_tools":false}}`, ``},
		"what nobody knows":  {`{"tags":["a","b"],"run_name":"x","configurable":{"mine":{"b":[1.50,null]},"thread_id":"t"}}`, ``},
		"an alias":           {`{"multitask_strategy":"reject"}`, `{"configurable":{"multitask_strategy":"reject"}}`},
		"the outer alias":    {`{"multitask_strategy":"reject","configurable":{"multitask_strategy":"rollback"}}`, `{"configurable":{"multitask_strategy":"reject"}}`},
		"a limit inside":     {`{"configurable":{"recursion_limit":9}}`, `{"recursion_limit":9}`},
		"the outer limit":    {`{"recursion_limit":8,"configurable":{"recursion_limit":9}}`, `{"recursion_limit":8}`},
		"names of identity":  {`{"user_id":"u","configurable":{"org_id":"o","mine":{"tenant_id":"t","x":1}}}`, `{"configurable":{"mine":{"x":1}}}`},
		"another case is no": {`{"configurable":{"Temperature":9}}`, ``},
	} {
		if c.out == "" {
			c.out = c.in
		}
		broken := map[string]string{}
		got, err := json.Marshal(presentConfig(readConfig([]byte(c.in), broken)))
		require.NoError(t, err, name)
		require.Empty(t, broken, name)
		require.JSONEq(t, c.out, string(got), name)
	}
}

func TestWhatBreaksARuleInAConfigIsNamed(t *testing.T) {
	for in, want := range map[string]map[string]string{
		`[]`:                   {"config": "must be an object"},
		`{"configurable":"x"}`: {"config.configurable": "must be an object"},
		`{"tags":"x","recursion_limit":"9","configurable":{"max_tokens":1.5,"enable_tools":"yes"}}`: {
			"config.tags": "must be a list, not string", "config.recursion_limit": "must be a whole number, not string",
			"config.configurable.max_tokens": "must be a whole number, not number 1.5", "config.configurable.enable_tools": "must be true or false, not string"},
		`{"configurable":{"policies":[{"tool":1}]}}`: {"config.configurable.policies.tool": "must be a string, not number"},
	} {
		broken := map[string]string{}
		readConfig([]byte(in), broken)
		require.Equal(t, want, broken, in)
	}
}
