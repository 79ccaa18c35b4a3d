package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

type orgRulesRow struct {
	Name     string
	Settings []byte
}

func (r orgRulesRow) settings() (auth.OrgSettings, error) {
	var s auth.OrgSettings
	if err := json.Unmarshal(r.Settings, &s); err != nil {
		return s, fmt.Errorf("reading the organisation's settings: %w", err)
	}
	return s, nil
}

const sqlOrgRules = `select name, settings from orgs where id = @org`

// OrgSettings gives the rules of the scope's organisation.
func (db *DB) OrgSettings(ctx context.Context, scope auth.Scope) (auth.OrgSettings, error) {
	row, err := one[orgRulesRow](ctx, db, scope, "Organisation", "reading the organisation's settings", sqlOrgRules,
		named{"org": string(scope.Org)})
	if err != nil {
		return auth.OrgSettings{}, err
	}
	return row.settings()
}

const sqlOrgRulesLock = `select name, settings from orgs where id = @org for no key update`

// sqlOrgSettingsSet keeps the settings that this version does not know.
const sqlOrgSettingsSet = `update orgs set settings = settings || @settings::jsonb where id = @org`

// SetOrgSettings changes the rules of the scope's organisation, for its owners;
// fields that are nil stay.
func (db *DB) SetOrgSettings(ctx context.Context, scope auth.Scope, s auth.OrgSettings) error {
	return db.changeOrg(ctx, scope, func(tx pgx.Tx, was orgRulesRow) error {
		before, err := was.settings()
		if err != nil {
			return err
		}
		if s.FourEyes == nil || before.RequiresFourEyes() == s.RequiresFourEyes() {
			return nil
		}
		raw, err := json.Marshal(s)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sqlOrgSettingsSet, named{"org": string(scope.Org), "settings": string(raw)}); err != nil {
			return translate(err)
		}
		return appendAudit(tx, scope, auth.AuditEntry{
			Action: "organisation.settings_changed", ObjectKind: "organisation", ObjectID: string(scope.Org), ObjectName: was.Name,
			Before: auditDetail(map[string]any{"four_eyes": before.RequiresFourEyes()}),
			After:  auditDetail(map[string]any{"four_eyes": s.RequiresFourEyes()})})
	})
}

const sqlOrgNameSet = `update orgs set name = @name where id = @org`

// RenameOrg gives the scope's organisation another name of 1 to 80 characters,
// for its owners. Its short name, which commands use, stays.
func (db *DB) RenameOrg(ctx context.Context, scope auth.Scope, name string) error {
	name, err := auth.CheckOrgName(name)
	if err != nil {
		return err
	}
	return db.changeOrg(ctx, scope, func(tx pgx.Tx, was orgRulesRow) error {
		if was.Name == name {
			return nil
		}
		if _, err := tx.Exec(ctx, sqlOrgNameSet, named{"org": string(scope.Org), "name": name}); err != nil {
			return translate(err)
		}
		return appendAudit(tx, scope, auth.AuditEntry{
			Action: "organisation.renamed", ObjectKind: "organisation", ObjectID: string(scope.Org), ObjectName: name,
			Before: auditDetail(map[string]any{"name": was.Name}), After: auditDetail(map[string]any{"name": name})})
	})
}

// changeOrg locks the scope's organisation and hands over what it was.
func (db *DB) changeOrg(ctx context.Context, scope auth.Scope, change func(tx pgx.Tx, was orgRulesRow) error) error {
	if err := scope.Require(auth.PermManageOrg); err != nil {
		return err
	}
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, sqlOrgRulesLock, named{"org": string(scope.Org)}) // its error comes back from CollectRows
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[orgRulesRow])
		if err != nil {
			return translate(err)
		}
		if len(found) != 1 {
			return fault.NotFound("Organisation")
		}
		return change(tx, found[0])
	})
	if err != nil {
		return fmt.Errorf("changing the organisation: %w", err)
	}
	return nil
}
