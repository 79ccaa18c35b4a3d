package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"strconv"
	"time"
)

// AuditVia says by which door an action came.
type AuditVia string

// The doors.
const (
	ViaPage    AuditVia = "page"
	ViaAPI     AuditVia = "api"
	ViaCommand AuditVia = "command"
	ViaSystem  AuditVia = "system"
)

// AuditEntry is one line of an organisation's audit log. Whoever records one
// fills Action to After; who acted, when and by which door come from the scope
// and the database's clock, and the chain from the store.
type AuditEntry struct {
	Seq       int64
	ID        string
	Org       OrgID
	At        time.Time
	Actor     UserID
	Via       AuditVia
	Key       KeyID
	Session   SessionID
	IP        string
	RequestID string

	// Action is what was done, as object.verb: "member.role_changed".
	Action string
	// ObjectKind, ObjectID and ObjectName say to what; the name is as people
	// knew it at the time.
	ObjectKind, ObjectID, ObjectName string
	// Rule names the policy or rule that the action followed, if one did.
	Rule string
	// Before and After are what changed, as JSON objects; nil where there was
	// nothing. They never hold secrets.
	Before, After json.RawMessage

	PrevHash, Hash []byte
}

// Bounds of an entry.
const (
	// MaxAuditName bounds an object's name, in characters.
	MaxAuditName = 300
	// MaxAuditJSON bounds Before and After each, in bytes; of what is larger the
	// log keeps size and SHA-256.
	MaxAuditJSON = 256 << 10
)

var auditAction = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$`)

// Settled is the entry as it may be recorded: names cleaned and within their
// bound, Before and After on one line with all else of their bytes as it was.
// The error names a mistake of whoever recorded it.
func (e AuditEntry) Settled() (AuditEntry, error) {
	if len(e.Action) > 80 || !auditAction.MatchString(e.Action) {
		return e, fmt.Errorf("the action %q is not of the form object.verb", e.Action)
	}
	if e.ObjectKind == "" {
		return e, fmt.Errorf("the action %s has no kind of object", e.Action)
	}
	e.ObjectID, e.ObjectName = CleanText(e.ObjectID), CleanText(e.ObjectName)
	if r := []rune(e.ObjectName); len(r) > MaxAuditName {
		e.ObjectName = string(r[:MaxAuditName-1]) + "…"
	}
	var err error
	if e.Before, err = settledJSON(e.Before); err != nil {
		return e, fmt.Errorf("before of %s: %w", e.Action, err)
	}
	if e.After, err = settledJSON(e.After); err != nil {
		return e, fmt.Errorf("after of %s: %w", e.Action, err)
	}
	return e, nil
}

func settledJSON(raw json.RawMessage) (json.RawMessage, error) {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if len(raw) > MaxAuditJSON {
		sum := sha256.Sum256(raw)
		return fmt.Appendf(nil, `{"omitted_bytes":%d,"omitted_sha256":"%x"}`, len(raw), sum), nil
	}
	if raw[0] != '{' {
		return nil, errors.New("it is no JSON object")
	}
	var line bytes.Buffer
	if err := json.Compact(&line, raw); err != nil {
		return nil, fmt.Errorf("it is no JSON: %w", err)
	}
	return line.Bytes(), nil
}

// auditForm names the form that is hashed; another form would be another name.
const auditForm = "heddle.audit.1"

// auditTime is how times are hashed and exported: in microseconds, as the
// database keeps them.
const auditTime = "2006-01-02T15:04:05.000000Z"

// ChainHash is the SHA-256 that the entry must carry after prev. What is hashed
// is the form's name, prev in hexadecimal and the entry's fields in the order
// of the struct, each as its length in bytes, a colon, the text and a comma: no
// two entries share a form, and any language can make it from an exported line.
func (e AuditEntry) ChainHash(prev []byte) []byte {
	h := sha256.New()
	for _, field := range []string{auditForm, hex.EncodeToString(prev), strconv.FormatInt(e.Seq, 10), e.ID, string(e.Org),
		e.At.UTC().Format(auditTime), string(e.Actor), string(e.Via), string(e.Key), string(e.Session), e.IP, e.RequestID,
		e.Action, e.ObjectKind, e.ObjectID, e.ObjectName, e.Rule, string(e.Before), string(e.After)} {
		hashField(h, field)
	}
	return h.Sum(nil)
}

// hashField never fails: no hash does.
func hashField(h hash.Hash, text string) {
	_, _ = io.WriteString(h, strconv.Itoa(len(text)))
	_, _ = io.WriteString(h, ":")
	_, _ = io.WriteString(h, text)
	_, _ = io.WriteString(h, ",")
}

// AuditQuery chooses entries of an organisation's log; the zero query chooses
// all.
type AuditQuery struct {
	// Actor did it.
	Actor UserID
	// Action is how the action begins: "member." is all that was done to members.
	Action string
	// ObjectKind and ObjectID are what it was done to.
	ObjectKind, ObjectID string
	// From and To bound the time: From inclusive, To exclusive.
	From, To time.Time
	// Text stands anywhere in action, object, rule, address, before or after; at
	// most 200 characters.
	Text string
	// Before continues a page: entries with smaller numbers.
	Before int64
	// Limit is how many, 1 to 200; 50 by default.
	Limit int
}

// AuditRow is an entry as people read it.
type AuditRow struct {
	AuditEntry
	// ActorName is what the person is called now; "" for who is no member any
	// more and for the system.
	ActorName string
}

// AuditPage is some of the log, the newest first.
type AuditPage struct {
	Rows []AuditRow
	// Next continues the page as AuditQuery.Before; 0 at the end.
	Next int64
	// Head is the newest link of the whole chain.
	Head AuditHead
}

// auditLine is an exported entry. The names are part of the product's contract.
type auditLine struct {
	Seq        int64           `json:"seq"`
	ID         string          `json:"id"`
	Org        OrgID           `json:"org_id"`
	At         string          `json:"at"`
	Actor      UserID          `json:"actor_id"`
	ActorName  string          `json:"actor_name,omitempty"`
	Via        AuditVia        `json:"via"`
	Key        KeyID           `json:"key_id"`
	Session    SessionID       `json:"session_id"`
	IP         string          `json:"ip"`
	RequestID  string          `json:"request_id"`
	Action     string          `json:"action"`
	ObjectKind string          `json:"object_kind"`
	ObjectID   string          `json:"object_id"`
	ObjectName string          `json:"object_name"`
	Rule       string          `json:"rule"`
	Before     json.RawMessage `json:"before"`
	After      json.RawMessage `json:"after"`
	PrevHash   string          `json:"prev_hash"`
	Hash       string          `json:"hash"`
}

// WriteLine writes the entry as one line of JSON. Before and after keep their
// bytes, so that the hash can be made again from the line.
func (r AuditRow) WriteLine(w io.Writer) error {
	line := auditLine{Seq: r.Seq, ID: r.ID, Org: r.Org, At: r.At.UTC().Format(auditTime), Actor: r.Actor, ActorName: r.ActorName,
		Via: r.Via, Key: r.Key, Session: r.Session, IP: r.IP, RequestID: r.RequestID, Action: r.Action, ObjectKind: r.ObjectKind,
		ObjectID: r.ObjectID, ObjectName: r.ObjectName, Rule: r.Rule, Before: r.Before, After: r.After,
		PrevHash: hex.EncodeToString(r.PrevHash), Hash: hex.EncodeToString(r.Hash)}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(line); err != nil {
		return fmt.Errorf("writing entry %d: %w", r.Seq, err)
	}
	return nil
}
