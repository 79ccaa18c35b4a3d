package sqlite

import "path/filepath"

// The variables and the file that say where a program keeps its database.
const (
	EnvURL      = "HEDDLE_SQLITE_URL"
	EnvFile     = "HEDDLE_SQLITE_FILE"
	DefaultFile = "heddle.db"
)

// Location chooses where a program keeps its database, as [Options].Path wants
// it: the URL that is set (file:…, with SQLite's parameters), else the name of a
// file that is set, else heddle.db in the directory of the program's data. What
// is set to nothing is not set.
func Location(getenv func(string) string, dataDir string) string {
	if url := getenv(EnvURL); url != "" {
		return url
	}
	if file := getenv(EnvFile); file != "" {
		return file
	}
	return filepath.Join(dataDir, DefaultFile)
}
