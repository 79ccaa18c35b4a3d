package store

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// A long thread is read as thousands of values, and asking pgx for each by
// reflection takes longer than PostgreSQL does to give them. So the rows of
// messages and checkpoints are read from PostgreSQL's binary formats
// (https://www.postgresql.org/docs/15/protocol-overview.html#PROTOCOL-FORMAT-CODES),
// in which pgx asks for uuid, int and timestamptz; texts and JSON are the same
// bytes in either.

// wire reads the values of one row, in the order of the columns. The first
// mistake is kept.
type wire struct {
	values [][]byte
	at     int
	err    error
}

// errNotBinary says that the server was asked for texts.
var errNotBinary = errors.New("the values are not in the binary format")

// eachRow calls read for every row.
func eachRow(rows pgx.Rows, read func(*wire) error) error {
	for _, f := range rows.FieldDescriptions() {
		switch f.DataTypeOID {
		case pgtype.UUIDOID, pgtype.Int4OID, pgtype.Int8OID, pgtype.TimestamptzOID:
			if f.Format != pgx.BinaryFormatCode {
				rows.Close()
				return fmt.Errorf("reading column %s: %w", f.Name, errNotBinary)
			}
		}
	}
	for rows.Next() {
		w := wire{values: rows.RawValues()}
		err := read(&w)
		if err == nil {
			err = w.err
		}
		if err != nil {
			rows.Close()
			return err
		}
	}
	return rows.Err()
}

// next gives the next value, nil for null; it is valid until the next row.
func (w *wire) next(size int) []byte {
	v := w.values[w.at]
	w.at++
	if v != nil && size > 0 && len(v) != size && w.err == nil {
		w.err = fmt.Errorf("reading column %d: it has %d bytes, not %d", w.at, len(v), size)
		return nil
	}
	return v
}

func (w *wire) text() string { return string(w.next(0)) }

// bytes copies a value; nil for null.
func (w *wire) bytes() []byte {
	v := w.next(0)
	if v == nil {
		return nil
	}
	return append(make([]byte, 0, len(v)), v...)
}

func (w *wire) int4() int {
	if v := w.next(4); v != nil {
		return int(int32(binary.BigEndian.Uint32(v)))
	}
	return 0
}

func (w *wire) int8() int64 {
	if v := w.next(8); v != nil {
		return int64(binary.BigEndian.Uint64(v))
	}
	return 0
}

// uuid gives a UUID's bytes; ok is false for null.
func (w *wire) uuid() (id [16]byte, ok bool) {
	v := w.next(16)
	copy(id[:], v)
	return id, v != nil
}

// epoch is where PostgreSQL's timestamps begin.
var epoch = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

func (w *wire) time() time.Time { return epoch.Add(time.Duration(w.int8()) * time.Microsecond) }

// names keeps one copy of each of the few ids that many rows share.
type names map[[16]byte]string

func (n names) of(id [16]byte) string {
	name, ok := n[id]
	if !ok {
		var out [36]byte
		for i, at := 0, 0; i < 16; i++ {
			if i == 4 || i == 6 || i == 8 || i == 10 {
				out[at] = '-'
				at++
			}
			hex.Encode(out[at:], id[i:i+1])
			at += 2
		}
		name = string(out[:])
		n[id] = name
	}
	return name
}
