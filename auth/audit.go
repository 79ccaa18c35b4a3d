package auth

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
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
// and the clock, and the chain from the store.
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

// ChainHash is the SHA-256 that entry must carry after prev: over prev and the
// entry's own fields in a fixed form. Times count in microseconds, as the
// database keeps them.
func (e AuditEntry) ChainHash(prev []byte) []byte {
	form, err := json.Marshal([]any{
		e.Seq, e.ID, e.Org, e.At.UTC().Truncate(time.Microsecond).Format("2006-01-02T15:04:05.000000Z"), e.Actor, e.Via, e.Key,
		e.Session, e.IP, e.RequestID, e.Action, e.ObjectKind, e.ObjectID, e.ObjectName, e.Rule, string(e.Before), string(e.After),
	})
	if err != nil {
		panic(fmt.Sprintf("hashing an audit entry: %v", err)) // strings and numbers always marshal
	}
	h := sha256.New()
	h.Write(prev)
	h.Write(form)
	return h.Sum(nil)
}
