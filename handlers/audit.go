package handlers

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/views/admin"
	"github.com/heddle/heddle/views/ui"
)

// AuditLog reads an organisation's audit log and adds to it.
type AuditLog interface {
	AuditLog(ctx context.Context, scope auth.Scope, q auth.AuditQuery) (auth.AuditPage, error)
	LastAudit(ctx context.Context, scope auth.Scope, action string) (auth.AuditPage, error)
	AuditExport(ctx context.Context, scope auth.Scope, q auth.AuditQuery, upto int64, each func(auth.AuditRow) error) error
	VerifyAudit(ctx context.Context, scope auth.Scope, limit time.Duration) (auth.ChainReport, error)
	Audit(ctx context.Context, scope auth.Scope, e auth.AuditEntry) error
	Names(ctx context.Context, scope auth.Scope) (map[auth.UserID]string, error)
}

// Audit serves the page of the audit log.
type Audit struct {
	frame *Frame
	store AuditLog
	clock clock.Clock
	log   *slog.Logger
}

// NewAudit makes the handlers.
func NewAudit(frame *Frame, store AuditLog, clk clock.Clock, log *slog.Logger) *Audit {
	return &Audit{frame: frame, store: store, clock: clk, log: log}
}

// auditFields are the parameters of the filter, in the order of the form.
var auditFields = [...]string{"text", "actor", "from", "to", "action", "kind", "object"}

// auditForm is the filter as it stands in the URL.
type auditForm map[string]string

func readAuditForm(c *fiber.Ctx) auditForm {
	form := auditForm{}
	for _, field := range auditFields {
		if value := strings.TrimSpace(utils.CopyString(c.Query(field))); value != "" {
			form[field] = value
		}
	}
	return form
}

const day = "2006-01-02"

// query reads the filter; the fault names all broken fields.
func (f auditForm) query() (auth.AuditQuery, error) {
	q := auth.AuditQuery{Text: f["text"], Actor: auth.UserID(f["actor"]), Action: f["action"], ObjectKind: f["kind"], ObjectID: f["object"]}
	broken := map[string]string{}
	for field, most := range map[string]int{"text": 200, "action": 80, "kind": 80, "object": 200} {
		if !utf8.ValidString(f[field]) || strings.ContainsRune(f[field], 0) || utf8.RuneCountInString(f[field]) > most {
			broken[field] = fmt.Sprintf("must be text of at most %d characters", most)
		}
	}
	if q.Actor != "" && !id.Valid(string(q.Actor)) {
		broken["actor"] = "must be one of the members"
	}
	for field, into := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		if f[field] == "" {
			continue
		}
		t, err := time.Parse(day, f[field])
		if err != nil {
			broken[field] = "must be a day such as 2026-11-21"
		}
		*into = t
	}
	if !q.To.IsZero() {
		q.To = q.To.AddDate(0, 0, 1) // the whole day
	}
	if !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
		broken["to"] = "must not be before the first day"
	}
	if len(broken) > 0 {
		return auth.AuditQuery{}, fault.InvalidFields(broken)
	}
	return q, nil
}

// address is a page of the audit log with the filter kept.
func (f auditForm) address(path string, before int64) string {
	values := url.Values{}
	for field, value := range f {
		values.Set(field, value)
	}
	if before > 0 {
		values.Set("before", strconv.FormatInt(before, 10))
	}
	if len(values) == 0 {
		return path
	}
	return path + "?" + values.Encode()
}

// Show is GET /admin/audit with the filter text, actor, from, to, action, kind
// and object, and before, where a page goes on.
func (a *Audit) Show(c *fiber.Ctx) error {
	ctx, scope, form := c.UserContext(), middleware.Scope(c), readAuditForm(c)
	if err := scope.Require(auth.PermReadAudit); err != nil {
		return err
	}
	names, err := a.store.Names(ctx, scope)
	if err != nil {
		return err
	}
	p := a.frame.page(c, "Audit log")
	view := admin.AuditLog{CSRF: p.CSRF, Filter: form.shown(names)}
	status := fiber.StatusOK
	q, err := form.query()
	if err != nil {
		view.Filter.Errors, status = sentences(fault.FieldsOf(err)), middleware.Status(fault.KindInvalid)
	}
	if view.Chain, err = a.chain(ctx, scope); err != nil {
		return err
	}
	if len(view.Filter.Errors) > 0 {
		view.Filter.Open = true
		return html(c, status, admin.AuditPage(p, adminNav(scope, "audit"), view))
	}
	q.Before = int64(c.QueryInt("before"))
	page, err := a.store.AuditLog(ctx, scope, q)
	if err != nil {
		return err
	}
	for _, r := range page.Rows {
		view.Entries = append(view.Entries, present.AuditEntry(r, names))
	}
	view.Export = form.address("/admin/audit/export", 0)
	if q.Before > 0 {
		view.Newest = form.address("/admin/audit", 0)
	}
	if page.Next > 0 {
		view.Older = form.address("/admin/audit", page.Next)
	}
	return html(c, status, admin.AuditPage(p, adminNav(scope, "audit"), view))
}

// shown is the form as it was filled in.
func (f auditForm) shown(names map[auth.UserID]string) admin.AuditFilter {
	out := admin.AuditFilter{Action: f["action"], Kind: f["kind"], Object: f["object"], From: f["from"], To: f["to"], Text: f["text"],
		Actions: present.Actions(), Kinds: present.Kinds(), Active: len(f) > 0, Open: f["action"]+f["kind"]+f["object"] != ""}
	actor := auth.UserID(f["actor"])
	for person, name := range names {
		out.People = append(out.People, ui.Option{Value: string(person), Label: name, Selected: person == actor})
	}
	slices.SortFunc(out.People, func(x, y ui.Option) int {
		return strings.Compare(strings.ToLower(x.Label)+x.Value, strings.ToLower(y.Label)+y.Value)
	})
	if _, member := names[actor]; actor != "" && !member {
		out.People = append(out.People, ui.Option{Value: string(actor), Label: "Former member", Selected: true})
	}
	out.People = append([]ui.Option{{Label: "Anybody"}}, out.People...)
	return out
}

// actionVerified is the entry that says what a check found. The log itself
// remembers it, so every reader of the page sees who checked, when and how far.
const actionVerified = "audit.verified"

// verdict is what such an entry holds.
type verdict struct {
	// Verified is the entry up to which every link held, Head where the chain said
	// that it ended.
	Verified int64          `json:"verified"`
	Head     int64          `json:"head"`
	Hash     string         `json:"hash"`
	Complete bool           `json:"complete"`
	Broken   int64          `json:"broken,omitempty"`
	Fault    auth.LinkFault `json:"fault,omitempty"`
}

// verifyLimit bounds a check that somebody waits for; heddle audit verify has
// no bound.
const verifyLimit = 5 * time.Second

// Verify is POST /admin/audit/verify: the chain is read again, for at most five
// seconds.
func (a *Audit) Verify(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	report, err := a.store.VerifyAudit(c.UserContext(), scope, verifyLimit)
	if err != nil {
		return err
	}
	found := verdict{Verified: report.Verified.Seq, Head: report.Head.Seq, Hash: hex.EncodeToString(report.Verified.Hash), Complete: report.Complete}
	if report.Broken != nil {
		found.Broken, found.Fault = report.Broken.Seq, report.Broken.Fault
		a.log.ErrorContext(c.UserContext(), "an audit log is broken", "org_id", scope.Org, "entry", found.Broken, "fault", found.Fault)
	}
	if err := a.record(c.UserContext(), scope, actionVerified, found); err != nil {
		return err
	}
	return done(c, "/admin/audit")
}

func (a *Audit) record(ctx context.Context, scope auth.Scope, action string, after any) error {
	raw, err := json.Marshal(after)
	if err != nil {
		return fmt.Errorf("recording %s: %w", action, err)
	}
	return a.store.Audit(ctx, scope, auth.AuditEntry{Action: action, ObjectKind: "audit_log", ObjectName: "audit log", After: raw})
}

// chain says what the last check found.
func (a *Audit) chain(ctx context.Context, scope auth.Scope) (admin.AuditChain, error) {
	last, err := a.store.LastAudit(ctx, scope, actionVerified)
	if err != nil {
		return admin.AuditChain{}, err
	}
	out := admin.AuditChain{Entries: present.Count(last.Head.Seq, "entry", "entries") + "."}
	if len(last.Rows) == 0 {
		return out, nil
	}
	row := last.Rows[0]
	var found verdict
	if err := json.Unmarshal(row.After, &found); err != nil {
		return admin.AuditChain{}, fmt.Errorf("reading the last check of the audit log: %w", err)
	}
	out.By, out.Checked, out.Hash = row.ActorName, present.Time(row.At, a.clock.Now()), found.Hash
	switch upto := present.Number(found.Verified); {
	case found.Broken > 0:
		out.Tone, out.Verdict = ui.Bad, fmt.Sprintf("Broken at entry %s: %s", present.Number(found.Broken), found.Fault)
	case !found.Complete:
		out.Tone, out.Verdict = ui.Wait, fmt.Sprintf("Verified up to entry %s of %s, then time was up", upto, present.Number(found.Head))
	default:
		out.Tone, out.Verdict = ui.Good, "Verified up to entry "+upto
	}
	return out, nil
}

// exportLimit bounds how long an export may take.
const exportLimit = 10 * time.Minute

// Export is GET /admin/audit/export with the filter of the page: the entries
// as JSON Lines, the oldest first. It is recorded before the first one leaves.
func (a *Audit) Export(c *fiber.Ctx) error {
	ctx, scope, form := c.UserContext(), middleware.Scope(c), readAuditForm(c)
	if err := scope.Require(auth.PermReadAudit); err != nil {
		return err
	}
	q, err := form.query()
	if err != nil {
		return err
	}
	q.Limit = 1
	newest, err := a.store.AuditLog(ctx, scope, q)
	if err != nil {
		return err
	}
	if err := a.record(ctx, scope, "audit.exported", map[string]any{"filter": form, "up_to": newest.Head.Seq}); err != nil {
		return err
	}
	in, _ := middleware.SignedIn(c)
	name := "audit-" + in.Org.Slug + "-" + a.clock.Now().UTC().Format("20060102-150405") + ".jsonl"
	c.Set(fiber.HeaderContentType, "application/x-ndjson")
	c.Set(fiber.HeaderContentDisposition, `attachment; filename="`+name+`"`)
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Context().SetBodyStreamWriter(func(out *bufio.Writer) { a.stream(out, scope, q, newest.Head.Seq) })
	return nil
}

// stream outlives the handler. A failure can't change the status any more: the
// last line says that lines are missing.
func (a *Audit) stream(out *bufio.Writer, scope auth.Scope, q auth.AuditQuery, upto int64) {
	ctx, cancel := context.WithTimeout(context.Background(), exportLimit)
	defer cancel()
	err := a.store.AuditExport(ctx, scope, q, upto, func(r auth.AuditRow) error { return r.WriteLine(out) })
	if err != nil {
		a.log.WarnContext(ctx, "an export of the audit log broke off", "request_id", scope.RequestID, "err", err)
		_, _ = out.WriteString(`{"error":"The export broke off here: entries are missing."}` + "\n") // the reader may be gone
	}
}
