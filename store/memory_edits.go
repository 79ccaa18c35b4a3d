package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// MaxEditBytes bounds a value that a person writes, in bytes of JSON without
// blanks; programs may store up to [MaxItemBytes].
const MaxEditBytes = 64 << 10

// CodeItemChanged is the code of the fault that somebody else was quicker.
const CodeItemChanged = "item_changed"

const sqlItemLock = `select i.updated_at, coalesce((select ` + personName + ` from users u where u.id = i.holder_id), '') as holder_name
from store_items i
where ` + itemsOfHolder + ` and i.namespace = @namespace::text[] and i.key = @key and ` + itemLives + `
for update of i`

// sqlItemEdit makes the person who edits the source of the value: what a run
// once said does not stand any more.
const sqlItemEdit = `update store_items i set value = @value, updated_at = clock_timestamp(), written_by = @user,
	run_id = null, thread_id = null, tool = null
where ` + itemsOfHolder + ` and i.namespace = @namespace::text[] and i.key = @key and i.value is distinct from @value::jsonb`

type lockedItemRow struct {
	UpdatedAt  time.Time
	HolderName string
}

func lockItem(ctx context.Context, tx pgx.Tx, args named) (lockedItemRow, error) {
	rows, _ := tx.Query(ctx, sqlItemLock, args) // its error comes back from CollectRows
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[lockedItemRow])
	if err != nil {
		return lockedItemRow{}, translate(err)
	}
	if len(found) == 0 {
		return lockedItemRow{}, memoryNotFound()
	}
	return found[0], nil
}

// EditItem replaces the value of an item for a person; seen is the UpdatedAt of
// the value they began with. The same value again changes nothing. Faults: not
// found as for [DB.MemoryItem], conflict with [CodeItemChanged] when it changed
// since, invalid or too large when the value breaks a rule.
func (db *DB) EditItem(ctx context.Context, scope auth.Scope, ref agents.ItemRef, value json.RawMessage, seen time.Time) error {
	args, err := refArgs(scope, ref)
	if err != nil {
		return err
	}
	err = db.scoped(ctx, scope, func(tx pgx.Tx) error {
		before, err := lockItem(ctx, tx, args)
		if err != nil {
			return err
		}
		if !before.UpdatedAt.Equal(seen) {
			return fault.Conflict("It changed while you were editing. Look at what is stored now, and save again to replace it.").
				WithCode(CodeItemChanged)
		}
		if args["value"], err = editedValue(value); err != nil {
			return err
		}
		done, err := tx.Exec(ctx, sqlItemEdit, args)
		if err != nil {
			return translate(err)
		}
		if done.RowsAffected() == 0 {
			return nil
		}
		return appendAudit(tx, scope, memoryEntry("memory.edited", ref.Memory, before.HolderName, &ref))
	})
	if err != nil {
		return fmt.Errorf("editing an item: %w", err)
	}
	return nil
}

// editedValue checks what a person typed and takes out the blanks.
func editedValue(typed json.RawMessage) (json.RawMessage, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, typed); err != nil {
		return nil, fault.Invalid("value", "must be JSON: "+err.Error())
	}
	if compact.Len() > MaxEditBytes {
		return nil, fault.Invalid("value", fmt.Sprintf("must be at most %d KiB of JSON", MaxEditBytes>>10))
	}
	value := json.RawMessage(compact.Bytes())
	return value, validateItemValue(value)
}

// RemoveItem deletes an item for a person. Not found as for [DB.MemoryItem].
func (db *DB) RemoveItem(ctx context.Context, scope auth.Scope, ref agents.ItemRef) error {
	args, err := refArgs(scope, ref)
	if err != nil {
		return err
	}
	err = db.scoped(ctx, scope, func(tx pgx.Tx) error {
		before, err := lockItem(ctx, tx, args)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sqlItemDelete, args); err != nil {
			return translate(err)
		}
		return appendAudit(tx, scope, memoryEntry("memory.deleted", ref.Memory, before.HolderName, &ref))
	})
	if err != nil {
		return fmt.Errorf("removing an item: %w", err)
	}
	return nil
}

const sqlMemoryForget = `delete from store_items i where ` + itemsOfHolder

// Forget deletes all items of a memory, expired ones too, and gives how many
// there were. Not found as for [DB.Memory].
func (db *DB) Forget(ctx context.Context, scope auth.Scope, m agents.Memory) (int, error) {
	if err := reach(scope, m); err != nil {
		return 0, err
	}
	args := memoryArgs(scope, m, nil)
	var gone int64
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, sqlMemoryHolder, args) // its error comes back from CollectRows
		holders, err := pgx.CollectRows(rows, pgx.RowToStructByName[holderRow])
		if err != nil {
			return translate(err)
		}
		done, err := tx.Exec(ctx, sqlMemoryForget, args)
		if err != nil {
			return translate(err)
		}
		if gone = done.RowsAffected(); gone == 0 {
			if len(holders) == 0 {
				return memoryNotFound()
			}
			return nil
		}
		entry := memoryEntry("memory.forgotten", m, "", nil)
		if len(holders) > 0 {
			entry.ObjectName = holders[0].Name
		}
		entry.Before = auditDetail(map[string]any{"items": gone})
		return appendAudit(tx, scope, entry)
	})
	if err != nil {
		return 0, fmt.Errorf("forgetting a memory: %w", err)
	}
	return int(gone), nil
}
