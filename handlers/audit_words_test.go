package handlers_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/handlers/present"
)

// TestEveryRecordedActionHasWords reads the store's source: whatever it records
// is said in words on the page, not by the fallback.
func TestEveryRecordedActionHasWords(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("..", "store", "*.go"))
	require.NoError(t, err)
	action := regexp.MustCompile(`"((?:assistant|member|memory|thread|key|session|organisation|invitation|audit|review)\.[a-z_]+)"`)
	found := 0
	for _, file := range files {
		if regexp.MustCompile(`_test\.go$`).MatchString(file) {
			continue
		}
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range action.FindAllStringSubmatch(string(source), -1) {
			if m[1] == "thread.read_any" || m[1] == "memory.json" {
				continue // a permission, a file
			}
			found++
			require.True(t, present.KnowsAction(m[1]), "%s records %s, and the audit page has no words for it", file, m[1])
		}
	}
	require.Greater(t, found, 20)
	for _, status := range []string{"approved", "edited", "rejected", "answered", "withdrawn", "expired", "void"} {
		require.True(t, present.KnowsAction("review."+status), status)
	}
}
