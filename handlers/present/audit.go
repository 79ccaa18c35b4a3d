package present

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/views/admin"
	"github.com/heddle/heddle/views/ui"
)

// actionWords say what was done, so that the object's name can follow. It is
// the one list of them; an action that isn't here is read as it is written.
func actionWords() map[string]string {
	return map[string]string{
		"audit.exported":                "Exported the",
		"audit.verified":                "Checked the chain of the",
		"thread.read_by_admin":          "Opened the private thread",
		"thread.assistant_moved":        "Moved to another version the assistant of",
		"thread.deleted":                "Deleted the thread",
		"member.joined":                 "Joined as",
		"member.left":                   "Left",
		"member.role_changed":           "Changed the role of",
		"member.removed":                "Removed the member",
		"invitation.created":            "Invited",
		"invitation.accepted":           "Accepted the invitation of",
		"invitation.revoked":            "Withdrew the invitation of",
		"session.ended":                 "Ended a session of",
		"key.created":                   "Made the API key",
		"key.revoked":                   "Revoked the API key",
		"assistant.created":             "Made the assistant",
		"assistant.saved":               "Saved the assistant",
		"assistant.activated":           "Used an earlier version of",
		"assistant.archived":            "Archived the assistant",
		"assistant.restored":            "Restored the assistant",
		"review.approved":               "Approved",
		"review.edited":                 "Edited and approved",
		"review.rejected":               "Rejected",
		"review.answered":               "Answered instead of",
		"review.withdrawn":              "Withdrew the request for",
		"review.expired":                "Nobody decided in time about",
		"review.void":                   "Changed the call under review of",
		"memory.read":                   "Read the memory of",
		"memory.edited":                 "Changed the memory",
		"memory.deleted":                "Deleted the memory",
		"memory.forgotten":              "Forgot the memory of",
		"webhook.requeued":              "Sent again to the webhook",
		"webhook.secret_read":           "Read the secret that signs webhooks",
		"webhook.secret_made":           "Made a new secret to sign webhooks",
		"organisation.renamed":          "Renamed the organisation",
		"organisation.settings_changed": "Changed the rules of",
	}
}

// KnowsAction reports whether an action has words of its own.
func KnowsAction(action string) bool { return actionWords()[action] != "" }

// ActionWords says an action in words: object.verb_word is "Object verb word"
// if nothing better is known.
func ActionWords(action string) string {
	if words := actionWords()[action]; words != "" {
		return words
	}
	words := strings.NewReplacer(".", " ", "_", " ").Replace(action)
	if words == "" {
		return ""
	}
	return strings.ToUpper(words[:1]) + words[1:]
}

// Actions lists the actions that have words, as suggestions for a filter.
func Actions() []ui.Option {
	words := actionWords()
	var out []ui.Option
	for _, action := range slices.Sorted(maps.Keys(words)) {
		out = append(out, ui.Option{Value: action, Label: words[action]})
	}
	return out
}

// objectPages are the kinds of objects that have a page, by where it is.
func objectPages() map[string]string {
	return map[string]string{"thread": "/threads/", "document": "/knowledge/", "review": "/reviews/", "assistant": "/admin/assistants/", "member": "/admin/members/"}
}

// Kinds lists kinds of objects, as suggestions for a filter.
func Kinds() []ui.Option {
	kinds := map[string]bool{}
	for action := range actionWords() {
		kind, _, _ := strings.Cut(action, ".")
		kinds[kind] = true
	}
	var out []ui.Option
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		out = append(out, ui.Option{Value: kind})
	}
	return out
}

// AuditEntry presents a line of the log.
func AuditEntry(r auth.AuditRow, names map[auth.UserID]string) admin.AuditEntry {
	at := r.At.UTC()
	e := admin.AuditEntry{
		ID: strconv.FormatInt(r.Seq, 10), Who: auditActor(r), Words: ActionWords(r.Action), Object: auditObject(r), Door: doorWords(r.Via),
		Address: r.IP, Rule: r.Rule, Changes: Changes(r.Before, r.After, names), Changed: r.Before != nil && r.After != nil,
		At: ui.Time{ISO: at.Format("2006-01-02T15:04:05.000000Z"), Text: at.Format("2 Jan 2006, 15:04:05"), Title: at.Format("2 January 2006, 15:04:05.000000 UTC")},
	}
	if page := objectPages()[r.ObjectKind]; page != "" && r.ObjectID != "" && !strings.HasSuffix(r.Action, ".deleted") {
		e.ObjectHref = page + url.PathEscape(r.ObjectID)
	}
	for _, f := range []admin.AuditFact{{Name: "Entry", Value: e.ID}, {Name: "Action", Value: r.Action}, {Name: "Object", Value: strings.TrimSpace(r.ObjectKind + " " + r.ObjectID)},
		{Name: "Person", Value: string(r.Actor)}, {Name: "Session", Value: string(r.Session)}, {Name: "API key", Value: string(r.Key)},
		{Name: "Request", Value: r.RequestID}, {Name: "Hash", Value: hex.EncodeToString(r.Hash)}} {
		if f.Value != "" {
			e.Facts = append(e.Facts, f)
		}
	}
	return e
}

func auditActor(r auth.AuditRow) string {
	switch {
	case r.ActorName != "":
		return r.ActorName
	case r.Actor == "":
		return "Nobody"
	default:
		return "Former member " + shortID(string(r.Actor))
	}
}

func auditObject(r auth.AuditRow) string {
	switch {
	case r.ObjectName != "":
		return r.ObjectName
	case r.ObjectKind == "thread":
		return Title("")
	default:
		return strings.TrimSpace(strings.ReplaceAll(r.ObjectKind, "_", " ") + " " + shortID(r.ObjectID))
	}
}

// shortID is the end of an id, where those of one day differ.
func shortID(id string) string {
	if len(id) > 12 {
		return id[len(id)-8:]
	}
	return id
}

func doorWords(v auth.AuditVia) string {
	switch v {
	case auth.ViaPage:
		return "Browser"
	case auth.ViaAPI:
		return "API key"
	case auth.ViaCommand:
		return "Command line"
	default:
		return "Server"
	}
}

// Bounds of what one entry shows; the export has all of it.
const (
	maxChanges    = 60
	maxValueRunes = 600
)

// Changes lists the fields in which before and after differ; of one alone, all
// its fields. Fields within fields have names with dots. Ids of members are
// shown as their names.
func Changes(before, after json.RawMessage, names map[auth.UserID]string) []admin.AuditChange {
	was, is := flat(before), flat(after)
	all := maps.Clone(was)
	maps.Copy(all, is)
	var out []admin.AuditChange
	for _, field := range slices.Sorted(maps.Keys(all)) {
		old, had := was[field]
		now, has := is[field]
		if had && has && old == now {
			continue
		}
		if len(out) == maxChanges {
			return append(out, admin.AuditChange{Field: "…", After: "more fields differ; the export has them"})
		}
		out = append(out, admin.AuditChange{Field: field, Before: valueWords(old, names), After: valueWords(now, names)})
	}
	return out
}

// flat gives the fields of a JSON object by their dotted names, each in its own
// JSON.
func flat(raw json.RawMessage) map[string]string {
	out := map[string]string{}
	var into func(prefix string, object map[string]json.RawMessage)
	into = func(prefix string, object map[string]json.RawMessage) {
		for field, value := range object {
			if inner := fields(value); len(inner) > 0 {
				into(prefix+field+".", inner)
			} else {
				out[prefix+field] = string(bytes.TrimSpace(value))
			}
		}
	}
	into("", fields(raw))
	return out
}

// fields are those of a JSON object; anything else has none.
func fields(raw json.RawMessage) map[string]json.RawMessage {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil {
		return nil
	}
	return object
}

// valueWords is a value for people: text without its quotes, all else as it is.
func valueWords(raw string, names map[auth.UserID]string) string {
	text := raw
	if strings.HasPrefix(raw, `"`) && json.Unmarshal([]byte(raw), &text) != nil {
		text = raw
	}
	switch name := names[auth.UserID(text)]; {
	case raw == "":
		return ""
	case name != "":
		return name
	case raw == "null":
		return "(none)"
	case text == "":
		return "(empty)"
	}
	if r := []rune(text); len(r) > maxValueRunes {
		return string(r[:maxValueRunes]) + "…"
	}
	return text
}

// Number writes a number with a comma between thousands.
func Number(n int64) string {
	text := strconv.FormatInt(n, 10)
	for at := len(text) - 3; at > 0 && n > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// Count is a number of things.
func Count(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return Number(n) + " " + more
}
