package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

//go:generate go test . -run TestReferenceIsFresh -update

var update = flag.Bool("update", false, "write the generated files instead of comparing them")

func TestReferenceIsFresh(t *testing.T) {
	for path, want := range map[string]string{
		filepath.Join("..", "docs", "config.md"): Markdown(),
		filepath.Join("..", ".env.example"):      DotEnvExample(),
	} {
		if *update {
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		}
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(got), "%s is stale: run make generate", path)
	}
}

func TestEveryVariableIsExplainedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range variables() {
		require.NotEmpty(t, v.name)
		require.False(t, seen[v.name], "%s is declared twice", v.name)
		seen[v.name] = true
		require.NotEmpty(t, v.doc, v.name)
		require.Equal(t, v.secret, v.kind.Name() == "Secret", "%s: the type and the secret tag must agree", v.name)
	}
}

func TestTheExampleIsAValidDotEnv(t *testing.T) {
	_, problems := load(t, nil, DotEnvExample())
	require.Empty(t, problems)

	var uncommented []byte
	for i, line := range strings.Split(DotEnvExample(), "\n") {
		if i > 3 && len(line) > 1 && line[0] == '#' && line[1] != ' ' {
			line = line[1:]
		}
		uncommented = append(uncommented, line+"\n"...)
	}
	_, problems = load(t, nil, string(uncommented))
	require.Empty(t, problems, "the defaults it shows must be good values")
}
