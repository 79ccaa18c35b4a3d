package agents_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
)

func TestJSONContainsJSON(t *testing.T) {
	for _, c := range []struct {
		have, want string
		holds      bool
	}{
		{`{"a":1,"b":2}`, `{"a":1}`, true},
		{`{"a":1,"b":2}`, `{}`, true},
		{`{"a":{"x":1,"y":2}}`, `{"a":{"y":2}}`, true},
		{`{"a":1}`, `{"a":1,"b":null}`, false},
		{`{"a":null}`, `{"a":null}`, true},
		{`{"a":1}`, `{"a":"1"}`, false},
		{`[1,[2,3],{"x":1}]`, `[{"x":1}]`, true},
		{`[1,[2,3]]`, `[[3]]`, true},
		{`[1,2]`, `[3]`, false},
		{`[1]`, `1`, false},
		{`"a"`, `"a"`, true},
		{`1.0`, `1`, true},
		{``, `1`, false},
	} {
		require.Equal(t, c.holds, agents.Contains(json.RawMessage(c.have), json.RawMessage(c.want)), "%s in %s", c.want, c.have)
	}
}
