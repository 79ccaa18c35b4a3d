package sqlite

import (
	"embed"
	"fmt"
	"io/fs"

	"github.com/heddle/heddle/internal/fault"
)

// schema holds the files NNNN_name.sql, which run forward only, in their order. A
// file that has shipped is never edited: user_version counts those that ran.
//
//go:embed schema/*.sql
var schema embed.FS

// applicationID marks a database as ours in its header: "Hddl".
const applicationID = 0x4864646c

const (
	sqlVersion = `select (select application_id from pragma_application_id), (select user_version from pragma_user_version),
		(select count(*) from sqlite_schema)`
)

// migrate brings the database to the newest schema, within a transaction.
func migrate(c *conn) error {
	files, err := fs.Glob(schema, "schema/*.sql")
	if err != nil {
		return err
	}
	owner, version, objects := 0, 0, 0
	if err := c.each(sqlVersion, nil, func(r row) error {
		owner, version, objects = r.ColumnInt(0), r.ColumnInt(1), r.ColumnInt(2)
		return nil
	}); err != nil {
		return err
	}
	switch {
	case owner != applicationID && (owner != 0 || version != 0 || objects != 0):
		return fault.Invalid("path", "is a database of another program")
	case version > len(files):
		return fault.Invalid("path", fmt.Sprintf("is a database of a newer version: it has schema %d, and this program knows up to %d", version, len(files)))
	}
	for n := version; n < len(files); n++ {
		text, err := fs.ReadFile(schema, files[n])
		if err != nil {
			return err
		}
		if err := c.db.Exec(string(text)); err != nil {
			return fmt.Errorf("running %s: %w", files[n], err)
		}
	}
	if version == len(files) {
		return nil
	}
	return c.db.Exec(fmt.Sprintf("pragma application_id = %d; pragma user_version = %d", applicationID, len(files)))
}
