package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/checkpoint/sqlite"
)

func TestTheURLCountsBeforeTheFileAndTheFileBeforeTheDefault(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"a URL":   {map[string]string{"HEDDLE_SQLITE_URL": "file:/srv/h.db?mode=rw", "HEDDLE_SQLITE_FILE": "/srv/other.db"}, "file:/srv/h.db?mode=rw"},
		"a file":  {map[string]string{"HEDDLE_SQLITE_URL": "", "HEDDLE_SQLITE_FILE": "/srv/other.db"}, "/srv/other.db"},
		"neither": {nil, filepath.Join("var", "data", "heddle.db")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, sqlite.Location(func(key string) string { return c.env[key] }, filepath.Join("var", "data")))
		})
	}
}
