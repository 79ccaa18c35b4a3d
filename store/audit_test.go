package store_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

func noted(n int) auth.AuditEntry {
	return auth.AuditEntry{Action: "tea.drunk", ObjectKind: "tea", ObjectID: fmt.Sprint(n), ObjectName: fmt.Sprintf("cup %d", n),
		Before: json.RawMessage(fmt.Sprintf(`{"full":true,"n":%d}`, n)), After: json.RawMessage(`{"full":false}`)}
}

func (b *bundle) note(t testing.TB, scope auth.Scope, count int) {
	t.Helper()
	for n := range count {
		require.NoError(t, b.db.Audit(t.Context(), scope, noted(n+1)))
	}
}

func (b *bundle) verify(t testing.TB, scope auth.Scope) auth.ChainReport {
	t.Helper()
	report, err := b.db.VerifyAuditOf(t.Context(), scope.Org)
	require.NoError(t, err)
	same, err := b.db.VerifyAudit(t.Context(), asAdmin(scope), 0)
	require.NoError(t, err)
	require.Equal(t, report, same, "the operator and an admin see the same")
	return report
}

func TestAnEntrySaysWhoWhenAndFromWhere(t *testing.T) {
	b := setup(t)
	scope := b.ada
	scope.Session, scope.IP, scope.RequestID = auth.SessionID(id.New()), "192.0.2.7", id.New()
	began := time.Now().Add(-time.Minute)
	e := noted(1)
	e.Rule, e.ObjectName = "tea.daily", "  cup\x00 of\ttea\u202e "
	e.Actor, e.Org, e.Seq, e.Session = b.mia.User, b.gia.Org, 99, "forged"
	require.NoError(t, b.db.Audit(t.Context(), scope, e))
	page, err := b.db.AuditLog(t.Context(), b.ada, auth.AuditQuery{})
	require.NoError(t, err)
	require.Len(t, page.Rows, 1)
	got := page.Rows[0]
	require.Equal(t, []any{int64(1), b.ada.Org, b.ada.User, "ada", auth.ViaPage, scope.Session, "192.0.2.7", scope.RequestID, "tea.daily", "cup of tea"},
		[]any{got.Seq, got.Org, got.Actor, got.ActorName, got.Via, got.Session, got.IP, got.RequestID, got.Rule, got.ObjectName})
	require.WithinRange(t, got.At, began, time.Now().Add(time.Minute))
	require.Equal(t, auth.AuditHead{Seq: 1, Hash: got.Hash}, page.Head)

	scope.Session, scope.Key, scope.KeyScopes = "", auth.KeyID(id.New()), []auth.KeyScope{auth.ScopeAdmin}
	require.NoError(t, b.db.Audit(t.Context(), scope, noted(2)))
	command := noted(3)
	command.Via = auth.ViaCommand
	require.NoError(t, b.db.Audit(t.Context(), b.ada, command))
	require.NoError(t, b.db.Audit(t.Context(), b.ada, noted(4)))
	page, err = b.db.AuditLog(t.Context(), b.ada, auth.AuditQuery{})
	require.NoError(t, err)
	require.Equal(t, []auth.AuditVia{auth.ViaSystem, auth.ViaCommand, auth.ViaAPI, auth.ViaPage},
		[]auth.AuditVia{page.Rows[0].Via, page.Rows[1].Via, page.Rows[2].Via, page.Rows[3].Via})
	require.Equal(t, scope.Key, page.Rows[2].Key)
}

// TestTheBytesOfBeforeAndAfterStay: the hash covers them, so the database must
// not put keys in another order, drop one of two or write numbers anew.
func TestTheBytesOfBeforeAndAfterStay(t *testing.T) {
	b := setup(t)
	odd := `{"b":1.0e5,"a":12345678901234567890123,"a":"<é\u0041>","":{"z":null,"y":[ ]}}`
	require.NoError(t, b.db.Audit(t.Context(), b.ada, auth.AuditEntry{Action: "tea.drunk", ObjectKind: "tea",
		Before: json.RawMessage(odd), After: json.RawMessage("{\n  \"a\": 1\n}")}))
	page, err := b.db.AuditLog(t.Context(), b.ada, auth.AuditQuery{})
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(odd, "[ ]", "[]"), string(page.Rows[0].Before), "on one line, else as it was")
	require.JSONEq(t, `{"a":1}`, string(page.Rows[0].After))
	require.True(t, holds(b.verify(t, b.ada)))
	var line bytes.Buffer
	require.NoError(t, page.Rows[0].WriteLine(&line))
	require.Contains(t, line.String(), `"before":`+string(page.Rows[0].Before)+`,"after":{"a":1},`)
	require.Equal(t, 1, strings.Count(line.String(), "\n"))

	big := json.RawMessage(`{"text":"` + strings.Repeat("x", auth.MaxAuditJSON) + `"}`)
	require.NoError(t, b.db.Audit(t.Context(), b.ada, auth.AuditEntry{Action: "tea.drunk", ObjectKind: "tea", After: big}))
	page, err = b.db.AuditLog(t.Context(), b.ada, auth.AuditQuery{})
	require.NoError(t, err)
	require.JSONEq(t, fmt.Sprintf(`{"omitted_bytes":%d,"omitted_sha256":"%x"}`, len(big), sha256.Sum256(big)), string(page.Rows[0].After))
	for _, bad := range []auth.AuditEntry{{Action: "tea", ObjectKind: "tea"}, {Action: "Tea.drunk", ObjectKind: "tea"}, {Action: "tea.drunk"},
		{Action: "tea.drunk", ObjectKind: "tea", Before: json.RawMessage(`{"a":`)}, {Action: "tea.drunk", ObjectKind: "tea", After: json.RawMessage(`[1]`)}} {
		require.Equal(t, fault.KindInternal, fault.KindOf(b.db.Audit(t.Context(), b.ada, bad)), "%+v is a mistake of ours", bad)
	}
	require.True(t, holds(b.verify(t, b.ada)))
}

func holds(r auth.ChainReport) bool { return r.Holds() }

func TestNobodyMayChangeOrRemoveWhatIsWritten(t *testing.T) {
	b := setup(t)
	b.note(t, b.ada, 2)
	system := connect(t, b.url, "heddle_system")
	for role, conn := range map[string]*pgx.Conn{"heddle_app": b.inOrg(t, b.ada), "heddle_system": system} {
		for _, sql := range []string{"update audit_log set action = 'tea.spilt'", "delete from audit_log", "truncate audit_log",
			"delete from audit_heads", "truncate audit_heads", "update audit_heads set org_id = gen_random_uuid()"} {
			_, err := conn.Exec(t.Context(), sql)
			var pg *pgconn.PgError
			require.True(t, errors.As(err, &pg), "%s as %s: %v", sql, role, err)
			require.Equal(t, "42501", pg.Code, "%s as %s", sql, role)
		}
	}
	require.True(t, holds(b.verify(t, b.ada)))
}

// tamper does what only the tables' owner can, past the wall that binds even
// the owner.
func (b *bundle) tamper(t *testing.T, sql string, args ...any) {
	t.Helper()
	conn := connect(t, b.url, "")
	for _, table := range []string{"audit_log", "audit_heads"} {
		_, err := conn.Exec(t.Context(), "set role heddle_owner; alter table "+table+" no force row level security")
		require.NoError(t, err)
	}
	tag, err := conn.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
	require.EqualValues(t, 1, tag.RowsAffected(), sql)
}

func TestTheFirstBrokenLinkIsFound(t *testing.T) {
	const copied = `insert into audit_log select org_id, %s, gen_random_uuid(), at, actor_id, via, key_id, session_id, ip, request_id, action,
		object_kind, object_id, object_name, rule, before, after, prev_hash, hash from audit_log where org_id = $1 and seq = %d`
	for name, c := range map[string]struct {
		sql  string
		want auth.BrokenLink
	}{
		"WhatWasDone":   {`update audit_log set action = 'tea.spilt' where org_id = $1 and seq = 3`, auth.BrokenLink{Seq: 3, Fault: auth.LinkHash}},
		"BytesOfJSON":   {`update audit_log set before = '{"full": true,"n":3}' where org_id = $1 and seq = 3`, auth.BrokenLink{Seq: 3, Fault: auth.LinkHash}},
		"NothingBefore": {`update audit_log set before = null where org_id = $1 and seq = 3`, auth.BrokenLink{Seq: 3, Fault: auth.LinkHash}},
		"When":          {`update audit_log set at = at + interval '1 microsecond' where org_id = $1 and seq = 5`, auth.BrokenLink{Seq: 5, Fault: auth.LinkHash}},
		"Who":           {`update audit_log set actor_id = null where org_id = $1 and seq = 1`, auth.BrokenLink{Seq: 1, Fault: auth.LinkHash}},
		"OwnHash":       {`update audit_log set hash = sha256('x') where org_id = $1 and seq = 2`, auth.BrokenLink{Seq: 2, Fault: auth.LinkHash}},
		"PreviousHash":  {`update audit_log set prev_hash = sha256('x') where org_id = $1 and seq = 2`, auth.BrokenLink{Seq: 2, Fault: auth.LinkPrevious}},
		"Removed":       {`delete from audit_log where org_id = $1 and seq = 4`, auth.BrokenLink{Seq: 4, Fault: auth.LinkMissing}},
		"RemovedFirst":  {`delete from audit_log where org_id = $1 and seq = 1`, auth.BrokenLink{Seq: 1, Fault: auth.LinkMissing}},
		"RemovedLast":   {`delete from audit_log where org_id = $1 and seq = 6`, auth.BrokenLink{Seq: 6, Fault: auth.LinkMissing}},
		"PutAtTheEnd":   {fmt.Sprintf(copied, "7", 6), auth.BrokenLink{Seq: 7, Fault: auth.LinkPrevious}},
		"PutFarAway":    {fmt.Sprintf(copied, "900", 6), auth.BrokenLink{Seq: 7, Fault: auth.LinkMissing}},
		"HeadBack": {`update audit_heads h set seq = 5, hash = l.hash from audit_log l
			where h.org_id = $1 and l.org_id = $1 and l.seq = 5`, auth.BrokenLink{Seq: 6, Fault: auth.LinkHead}},
		"HeadHash":  {`update audit_heads set hash = sha256('x') where org_id = $1`, auth.BrokenLink{Seq: 6, Fault: auth.LinkHead}},
		"HeadAhead": {`update audit_heads set seq = 8 where org_id = $1`, auth.BrokenLink{Seq: 7, Fault: auth.LinkMissing}},
		"HeadGone":  {`delete from audit_heads where org_id = $1`, auth.BrokenLink{Seq: 1, Fault: auth.LinkHead}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.note(t, b.ada, 6)
			b.note(t, b.gus, 3)
			report := b.verify(t, b.ada)
			require.True(t, report.Holds())
			require.EqualValues(t, 6, report.Verified.Seq)
			require.Equal(t, report.Head, report.Verified)
			other := b.verify(t, b.gus)
			b.tamper(t, c.sql, string(b.ada.Org))
			report = b.verify(t, b.ada)
			require.False(t, report.Holds())
			require.Equal(t, c.want, *report.Broken)
			require.Less(t, report.Verified.Seq, int64(7))
			require.Equal(t, other, b.verify(t, b.gus), "another organisation's chain is its own")
		})
	}
}

// TestAnEntryPutBetweenIsFound moves the later entries on to make room, and
// makes the hash of the new one fit.
func TestAnEntryPutBetweenIsFound(t *testing.T) {
	b := setup(t)
	b.note(t, b.ada, 4)
	page, err := b.db.AuditLog(t.Context(), b.ada, auth.AuditQuery{})
	require.NoError(t, err)
	forged := page.Rows[2].AuditEntry // number 2
	forged.Seq, forged.ID, forged.Action, forged.PrevHash = 3, id.New(), "tea.spilt", page.Rows[2].Hash
	forged.Hash = forged.ChainHash(forged.PrevHash)
	b.tamper(t, `update audit_log set seq = 5 where org_id = $1 and seq = 4`, string(b.ada.Org))
	b.tamper(t, `update audit_log set seq = 4 where org_id = $1 and seq = 3`, string(b.ada.Org))
	b.tamper(t, `insert into audit_log select org_id, 3, $2, at, actor_id, via, key_id, session_id, ip, request_id, $3,
		object_kind, object_id, object_name, rule, before, after, $4, $5 from audit_log where org_id = $1 and seq = 2`,
		string(b.ada.Org), forged.ID, forged.Action, forged.PrevHash, forged.Hash)
	require.Equal(t, auth.BrokenLink{Seq: 4, Fault: auth.LinkPrevious}, *b.verify(t, b.ada).Broken)
}

// TestParallelEntriesMakeOneChain lets fifty transactions hold locks of
// threads, in either organisation, before they append; others submit and delete
// meanwhile. A deadlock would come back as an error.
func TestParallelEntriesMakeOneChain(t *testing.T) {
	b := setup(t)
	const people, each = 25, 8
	threads := map[auth.OrgID][]agents.ThreadID{}
	for _, s := range []auth.Scope{b.mia, b.gia} {
		for range 5 {
			threads[s.Org] = append(threads[s.Org], b.thread(t, s, agents.VisibilityOrganisation).ID)
		}
	}
	nodes := []*store.DB{b.db, open(t, b.url)}
	group, ctx := errgroup.WithContext(t.Context())
	for _, scope := range []auth.Scope{b.mia, b.gia} {
		for p := range people {
			group.Go(func() error {
				for n := range each {
					if err := store.TouchAudited(ctx, nodes[p%2], scope, threads[scope.Org][(p+n)%5], noted(p), noted(n)); err != nil {
						return err
					}
				}
				return nil
			})
		}
		group.Go(func() error {
			for n := range 2 * each {
				if _, err := b.db.Submit(ctx, scope, b.submission(threads[scope.Org][n%5])); err != nil {
					return err
				}
				if err := b.db.Audit(ctx, scope, noted(n)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	for _, scope := range []auth.Scope{b.ada, b.gus} {
		report := b.verify(t, scope)
		require.True(t, report.Holds(), "%+v", report.Broken)
		require.EqualValues(t, people*each*2+2*each, report.Verified.Seq, "dense")
		conn := b.inOrg(t, scope)
		require.Zero(t, scan[int](t, conn, `select count(*) from (select at < lag(at) over (order by seq) as back from audit_log) x where back`),
			"times follow the numbers")
	}
}

func TestAChangeThatFailsLeavesNoEntry(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	bad := auth.AuditEntry{Action: "nonsense"}
	require.Error(t, store.TouchAudited(t.Context(), b.db, b.mia, thread.ID, noted(1), bad))
	require.Zero(t, b.verify(t, b.ada).Head.Seq)
	kept, err := b.db.Thread(t.Context(), b.mia, thread.ID)
	require.NoError(t, err)
	require.Equal(t, thread.Title, kept.Title, "both happen or neither")
	require.NoError(t, store.TouchAudited(t.Context(), b.db, b.mia, thread.ID, noted(1)))
	require.EqualValues(t, 1, b.verify(t, b.ada).Verified.Seq)
}

func TestTheLogIsFilteredAndPaged(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	b.note(t, b.ada, 5)
	require.NoError(t, b.db.Audit(ctx, b.mia, auth.AuditEntry{Action: "member.role_changed", ObjectKind: "member", ObjectID: "m1",
		ObjectName: "Max 50%_sure", Rule: "four_eyes", After: json.RawMessage(`{"role":"Reviewer"}`)}))
	require.NoError(t, b.db.Audit(ctx, b.mia, auth.AuditEntry{Action: "member.removed", ObjectKind: "member", ObjectID: "m2"}))
	b.note(t, b.gus, 2)
	found := func(q auth.AuditQuery) []int64 {
		page, err := b.db.AuditLog(ctx, b.ada, q)
		require.NoError(t, err)
		var up []int64
		require.NoError(t, b.db.AuditExport(ctx, b.ada, q, 1000, func(r auth.AuditRow) error {
			up = append([]int64{r.Seq}, up...)
			return nil
		}))
		numbers := []int64{}
		for _, r := range page.Rows {
			numbers = append(numbers, r.Seq)
		}
		if page.Next == 0 && q.Before == 0 {
			require.ElementsMatch(t, numbers, up, "an export holds what the page shows")
		}
		return numbers
	}
	all := found(auth.AuditQuery{})
	require.Equal(t, []int64{7, 6, 5, 4, 3, 2, 1}, all)
	page, err := b.db.AuditLog(ctx, b.ada, auth.AuditQuery{Limit: 200})
	require.NoError(t, err)
	third := page.Rows[4].At
	for name, c := range map[string]struct {
		q    auth.AuditQuery
		want []int64
	}{
		"Actor": {auth.AuditQuery{Actor: b.mia.User}, []int64{7, 6}}, "ActorElsewhere": {auth.AuditQuery{Actor: b.gus.User}, []int64{}},
		"Action": {auth.AuditQuery{Action: "member."}, []int64{7, 6}}, "WholeAction": {auth.AuditQuery{Action: "member.removed"}, []int64{7}},
		"ActionIsNoPattern": {auth.AuditQuery{Action: "m%"}, []int64{}},
		"Object":            {auth.AuditQuery{ObjectKind: "tea", ObjectID: "2"}, []int64{2}}, "Kind": {auth.AuditQuery{ObjectKind: "member"}, []int64{7, 6}},
		"From": {auth.AuditQuery{From: third, ObjectKind: "tea"}, []int64{5, 4, 3}}, "To": {auth.AuditQuery{To: third}, []int64{2, 1}},
		"Text": {auth.AuditQuery{Text: "reviewer"}, []int64{6}}, "TextOfRule": {auth.AuditQuery{Text: "four_eyes"}, []int64{6}},
		"TextIsNoPattern": {auth.AuditQuery{Text: "50%_s"}, []int64{6}}, "TextIsNoPattern2": {auth.AuditQuery{Text: "5%s"}, []int64{}},
		"Page": {auth.AuditQuery{Before: 4, Limit: 2}, []int64{3, 2}}, "All": {auth.AuditQuery{Action: "member.", Actor: b.mia.User, Text: "Max"}, []int64{6}},
	} {
		require.Equal(t, c.want, found(c.q), name)
	}
	for want, q := range map[int64]auth.AuditQuery{6: {Limit: 2}, 2: {Before: 4, Limit: 2}, 0: {Before: 3, Limit: 2}} {
		page, err := b.db.AuditLog(ctx, b.ada, q)
		require.NoError(t, err)
		require.Equal(t, want, page.Next)
		require.EqualValues(t, 7, page.Head.Seq)
	}
	last, err := b.db.LastAudit(ctx, b.ada, "tea.drunk")
	require.NoError(t, err)
	require.Equal(t, []any{1, int64(5), int64(7)}, []any{len(last.Rows), last.Rows[0].Seq, last.Head.Seq})
	last, err = b.db.LastAudit(ctx, b.ada, "tea")
	require.NoError(t, err)
	require.Empty(t, last.Rows, "a whole action")
	_, err = b.db.AuditLog(ctx, b.ada, auth.AuditQuery{Actor: "ada"})
	requireKind(t, fault.KindInvalid, err)
	_, err = b.db.AuditLog(ctx, b.ada, auth.AuditQuery{Text: strings.Repeat("x", 201)})
	requireKind(t, fault.KindInvalid, err)
}

func TestTheLogTakesThePermissionToReadIt(t *testing.T) {
	b := setup(t)
	b.note(t, b.ada, 1)
	key := b.ada
	key.Key, key.KeyScopes = auth.KeyID(id.New()), []auth.KeyScope{auth.ScopeRun, auth.ScopeReview}
	for _, s := range []auth.Scope{b.mia, b.person(t, "acme", "ray", auth.RoleReviewer), key} {
		_, err := b.db.AuditLog(t.Context(), s, auth.AuditQuery{})
		requireKind(t, fault.KindForbidden, err)
		_, err = b.db.LastAudit(t.Context(), s, "tea.drunk")
		requireKind(t, fault.KindForbidden, err)
		requireKind(t, fault.KindForbidden, b.db.AuditExport(t.Context(), s, auth.AuditQuery{}, 9, func(auth.AuditRow) error { return nil }))
		_, err = b.db.VerifyAudit(t.Context(), s, 0)
		requireKind(t, fault.KindForbidden, err)
	}
}

func TestOpeningSomebodyElsesThreadIsRecordedOnceInAWhile(t *testing.T) {
	b := setup(t)
	ctx, now := t.Context(), time.Now()
	private, shared := b.thread(t, b.mia, agents.VisibilityPrivate), b.thread(t, b.mia, agents.VisibilityOrganisation)
	own := b.thread(t, b.ada, agents.VisibilityPrivate)
	entries := func() []auth.AuditRow {
		page, err := b.db.AuditLog(ctx, b.ada, auth.AuditQuery{})
		require.NoError(t, err)
		return page.Rows
	}
	for _, thread := range []agents.Thread{shared, own} {
		require.NoError(t, b.db.Opened(ctx, b.ada, thread, now))
	}
	require.NoError(t, b.db.Opened(ctx, b.mia, private, now))
	key := b.ada
	key.Key, key.KeyScopes = auth.KeyID(id.New()), []auth.KeyScope{auth.ScopeRun}
	require.NoError(t, b.db.Opened(ctx, key, private, now), "a key without the scope admin cannot have read it by that right")
	require.Empty(t, entries())
	for _, later := range []time.Duration{0, time.Second, 15*time.Minute - 1} {
		require.NoError(t, b.db.Opened(ctx, b.ada, private, now.Add(later)))
	}
	rows := entries()
	require.Len(t, rows, 1)
	require.Equal(t, []string{"thread.read_by_admin", "thread", string(private.ID), private.Title, "thread.read_any"},
		[]string{rows[0].Action, rows[0].ObjectKind, rows[0].ObjectID, rows[0].ObjectName, rows[0].Rule})
	require.JSONEq(t, `{"owner_id":"`+string(b.mia.User)+`"}`, string(rows[0].After))
	require.NoError(t, b.db.Opened(ctx, b.person(t, "acme", "olga", auth.RoleOwner), private, now))
	require.Len(t, entries(), 2, "each person counts")
	require.NoError(t, b.db.Opened(ctx, b.ada, private, now.Add(15*time.Minute)))
	require.Len(t, entries(), 3)
	requireKind(t, fault.KindNotFound, b.db.Opened(ctx, b.gus, private, now))
}

func TestVerifyingInAPageStopsInTime(t *testing.T) {
	b := setup(t)
	const count = 2500
	system := connect(t, b.url, "heddle_system")
	entry := noted(1)
	entry.Org, entry.Via = b.ada.Org, auth.ViaSystem
	var rows pgx.Batch
	for n := range count {
		entry.Seq, entry.ID, entry.At = int64(n+1), id.New(), time.Now().UTC().Truncate(time.Microsecond)
		entry.PrevHash = append([]byte{}, entry.Hash...)
		entry.Hash = entry.ChainHash(entry.PrevHash)
		rows.Queue(`insert into audit_log (org_id, seq, id, at, via, action, object_kind, object_id, object_name, before, after, prev_hash, hash)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`, string(entry.Org), entry.Seq, entry.ID, entry.At, string(entry.Via),
			entry.Action, entry.ObjectKind, entry.ObjectID, entry.ObjectName, string(entry.Before), string(entry.After), entry.PrevHash, entry.Hash)
	}
	rows.Queue("insert into audit_heads values ($1, $2, $3)", string(b.ada.Org), count, entry.Hash)
	require.NoError(t, system.SendBatch(t.Context(), &rows).Close())
	report := b.verify(t, b.ada)
	require.True(t, report.Holds())
	require.EqualValues(t, count, report.Verified.Seq)
	var err error
	report, err = b.db.VerifyAudit(t.Context(), b.ada, time.Nanosecond)
	require.NoError(t, err)
	require.False(t, report.Complete)
	require.Nil(t, report.Broken, "what wasn't read isn't broken")
	require.Less(t, report.Verified.Seq, int64(count))
	require.EqualValues(t, count, report.Head.Seq)
}

func BenchmarkChangeWithAndWithoutAudit(b *testing.B) {
	e := setup(b)
	thread := e.thread(b, e.mia, agents.VisibilityPrivate)
	b.Run("without", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, store.TouchAudited(b.Context(), e.db, e.mia, thread.ID))
		}
	})
	b.Run("with", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, store.TouchAudited(b.Context(), e.db, e.mia, thread.ID, noted(1)))
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				require.NoError(b, e.db.Audit(b.Context(), e.mia, noted(1)))
			}
		})
	})
}
