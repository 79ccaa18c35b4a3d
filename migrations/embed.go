// Package migrations holds the numbered SQL files that make and change the
// schema. They run forward only, as the role heddle_owner, through store.Migrate;
// a file that has shipped is never edited.
package migrations

import "embed"

// FS holds the files NNNN_name.sql.
//
//go:embed *.sql
var FS embed.FS
