package eventtest_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/event/eventtest"
)

//go:generate go test . -run TestReferenceIsFresh -update

var update = flag.Bool("update", false, "write the generated files instead of comparing them")

func examples(t *testing.T) eventtest.Examples {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "testdata", "envelopes.json"))
	require.NoError(t, err)
	var out eventtest.Examples
	require.NoError(t, json.Unmarshal(raw, &out))
	for key, example := range out {
		var b bytes.Buffer
		require.NoError(t, json.Compact(&b, example), key)
		out[key] = b.Bytes()
	}
	return out
}

func TestReferenceIsFresh(t *testing.T) {
	document, err := eventtest.Document(examples(t))
	require.NoError(t, err)
	schema, err := eventtest.Schema()
	require.NoError(t, err)
	rendered, err := json.MarshalIndent(schema, "", "  ")
	require.NoError(t, err)
	for name, want := range map[string]string{"envelopes.md": document, "envelopes.schema.json": string(rendered) + "\n"} {
		path := filepath.Join("..", "..", "..", "docs", name)
		if *update {
			require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		}
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(got), "%s is stale: run make generate", path)
	}
}

// TestTheCatalogueHasEveryConstant reads the source, so that a type or name
// without an entry is found although nothing emits it yet.
func TestTheCatalogueHasEveryConstant(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "event.go"), nil, 0)
	require.NoError(t, err)
	var declared []string
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			if kind, ok := v.Type.(*ast.Ident); ok && (kind.Name == "Type" || kind.Name == "Name") {
				value, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				require.NoError(t, err)
				if value != string(event.Custom) {
					declared = append(declared, value)
				}
			}
		}
	}
	var listed []string
	for _, e := range event.Catalogue() {
		listed = append(listed, e.Key())
		require.NotEmpty(t, e.Meaning, e.Key())
		require.Equal(t, e.Reserved, e.By == "", "%s: who emits it, unless nobody does", e.Key())
		require.False(t, e.Reserved && e.Data != nil, e.Key())
	}
	require.ElementsMatch(t, declared, listed)
}

func TestTheDataHasEveryFieldThatAGUIRequires(t *testing.T) {
	s, err := eventtest.Schema()
	require.NoError(t, err)
	// The required fields of @ag-ui/core 1.0.0, beside the type.
	for key, fields := range map[event.Type][]string{
		event.RunStarted: {"threadId", "runId"}, event.RunFinished: {"threadId", "runId"}, event.RunError: {"message"},
		event.StepStarted: {"stepName"}, event.StepFinished: {"stepName"},
		event.TextMessageStart: {"messageId"}, event.TextMessageContent: {"messageId", "delta"}, event.TextMessageEnd: {"messageId"},
		event.ToolCallStart: {"toolCallId", "toolCallName"}, event.ToolCallArgs: {"toolCallId", "delta"},
		event.ToolCallEnd: {"toolCallId"}, event.ToolCallResult: {"messageId", "toolCallId", "content"},
	} {
		require.Subset(t, s.Defs[string(key)].Required, fields, key)
	}
}

func TestTheSchemaRefusesWhatIsNotDocumented(t *testing.T) {
	v, err := eventtest.NewValidator()
	require.NoError(t, err)
	all := examples(t)
	for key, example := range all {
		require.NoError(t, v.Check(example), key)
	}
	for name, c := range map[string]struct {
		key, path string
		value     any // absent takes the field away
	}{
		"another version":          {"RUN_STARTED", "v", 2},
		"an unknown type":          {"RUN_STARTED", "type", "RUN_BEGAN"},
		"a reserved type":          {"TEXT_MESSAGE_START", "type", "REASONING_MESSAGE_START"},
		"an unknown name":          {"usage", "data.name", "costs"},
		"a reserved name":          {"graph.custom", "data.name", "node.update"},
		"a custom without value":   {"graph.custom", "data.value", absent{}},
		"a field of data":          {"STEP_STARTED", "data.more", 1},
		"a field beside the value": {"graph.custom", "data.more", 1},
		"a field of a value":       {"thread.changed", "data.value.more", 1},
		"a field of the envelope":  {"STEP_STARTED", "more", 1},
		"a missing field":          {"STEP_STARTED", "data.stepName", absent{}},
		"missing data":             {"STEP_STARTED", "data", absent{}},
		"an empty delta":           {"TOOL_CALL_ARGS", "data.delta", ""},
		"a word as number":         {"usage", "data.value.input_tokens", "1"},
		"null for a list":          {"checkpoint", "data.value.next", nil},
		"a time of another form":   {"STEP_STARTED", "ts", "2026-01-02T03:04:05+00:00"},
		"an id that is none":       {"STEP_STARTED", "thread_id", "mine"},
		"number zero":              {"STEP_STARTED", "seq", 0},
		"an outcome nobody has":    {"RUN_FINISHED", "data.outcome", "unknown"},
		"an event without its run": {"RUN_STARTED", "run_id", absent{}},
		"a role nobody has":        {"message.queued", "data.value.messages.0.role", "robot"},
	} {
		t.Run(name, func(t *testing.T) {
			var envelope any
			require.NoError(t, json.Unmarshal(all[c.key], &envelope))
			put(t, envelope, strings.Split(c.path, "."), c.value)
			changed, err := json.Marshal(envelope)
			require.NoError(t, err)
			require.Error(t, v.Check(changed), "%s", changed)
		})
	}
}

type absent struct{}

// put changes one place of a JSON value.
func put(t *testing.T, in any, path []string, value any) {
	t.Helper()
	for ; len(path) > 1; path = path[1:] {
		switch at := in.(type) {
		case map[string]any:
			in = at[path[0]]
		case []any:
			in = at[0]
		}
	}
	object, ok := in.(map[string]any)
	require.True(t, ok, path)
	if value == (absent{}) {
		require.Contains(t, object, path[0])
		delete(object, path[0])
		return
	}
	object[path[0]] = value
}
