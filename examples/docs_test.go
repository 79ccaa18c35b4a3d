package examples_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheGuidesShowCodeOfTheExamples holds the guides to what they promise: each
// piece of Go in them stands in an example, line by line.
func TestTheGuidesShowCodeOfTheExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*/*.go")
	require.NoError(t, err)
	var sources []string
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NotContains(t, string(raw), "/internal/", "%s imports what programs elsewhere can't", file)
		sources = append(sources, flush(string(raw)))
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```")
	for _, guide := range []string{"graphs.md", "iterative-sessions.md"} {
		text, err := os.ReadFile(filepath.Join("..", "docs", guide))
		require.NoError(t, err)
		found := blocks.FindAllStringSubmatch(string(text), -1)
		require.NotEmpty(t, found)
		for _, block := range found {
			require.True(t, containsAny(sources, flush(block[1])), "%s shows what no example has:\n%s", guide, block[1])
		}
	}
}

// flush takes the indentation off each line, and the spaces that align values.
func flush(code string) string {
	var out strings.Builder
	for line := range strings.Lines(code) {
		out.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return out.String()
}

func containsAny(sources []string, block string) bool {
	for _, source := range sources {
		if strings.Contains(source, "\n"+block) {
			return true
		}
	}
	return false
}
