package agents

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"time"

	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// ReviewID identifies a request for review.
type ReviewID string

// ReviewStatus is how a request stands.
type ReviewStatus string

// The statuses of a request.
const (
	ReviewOpen      ReviewStatus = "open"
	ReviewApproved  ReviewStatus = "approved"
	ReviewEdited    ReviewStatus = "edited"    // approved with other arguments
	ReviewRejected  ReviewStatus = "rejected"  // the model reads the reason
	ReviewAnswered  ReviewStatus = "answered"  // a person's words are the result
	ReviewWithdrawn ReviewStatus = "withdrawn" // by whoever asked
	ReviewExpired   ReviewStatus = "expired"   // nobody decided in time: denied
	ReviewVoid      ReviewStatus = "void"      // the call changed under it
)

// Runs reports whether a call with this decision executes.
func (s ReviewStatus) Runs() bool { return s == ReviewApproved || s == ReviewEdited }

// DecisionKind is what a person may say to a request.
type DecisionKind string

// The decisions, in the words of every LangGraph client, and ours to withdraw.
const (
	Approve  DecisionKind = "approve"
	Edit     DecisionKind = "edit"
	Reject   DecisionKind = "reject"
	Respond  DecisionKind = "respond"
	Withdraw DecisionKind = "withdraw"
)

// Decisions lists those a policy can allow.
func Decisions() []DecisionKind { return []DecisionKind{Approve, Edit, Reject, Respond} }

// Status is how a request stands after the decision.
func (k DecisionKind) Status() ReviewStatus {
	switch k {
	case Approve:
		return ReviewApproved
	case Edit:
		return ReviewEdited
	case Reject:
		return ReviewRejected
	case Respond:
		return ReviewAnswered
	default:
		return ReviewWithdrawn
	}
}

// MaxReasonRunes bounds a reason or an answer in place of a result.
const MaxReasonRunes = 4000

// Review is a request that a person decide on one tool call before it runs.
type Review struct {
	ID        ReviewID
	Org       auth.OrgID
	Thread    ThreadID
	Line      LineID
	Run       RunID
	Interrupt string
	// CallID is the model's id of the call. Round counts the requests for the
	// same call: 1 asks whether a call whose outcome is unknown did happen.
	CallID string
	Round  int
	// Requester is whoever asked: the person the run acts for.
	Requester        auth.UserID
	Assistant        AssistantID
	AssistantVersion int

	Tool string
	// Args are the exact bytes a decision covers.
	Args json.RawMessage
	// Allowed are the decisions the policy lets a reviewer take.
	Allowed []DecisionKind
	// Reason says why policy stopped the call; Rule names the policy.
	Reason, Rule string
	// Effect is the tool's class.
	Effect string

	Status    ReviewStatus
	DecidedBy auth.UserID
	DecidedAt time.Time
	// FinalArgs are what an edited call runs with; Text is the reason of a
	// rejection or the answer in place of a result.
	FinalArgs json.RawMessage
	Text      string

	ClaimedBy    auth.UserID
	ClaimedUntil time.Time
	CreatedAt    time.Time
	DueAt        time.Time
}

// HashArgs is what binds a decision to the arguments that were shown.
func HashArgs(args json.RawMessage) []byte {
	h := sha256.Sum256(args)
	return h[:]
}

// Allows reports whether policy lets a reviewer take the decision.
func (r Review) Allows(k DecisionKind) bool { return slices.Contains(r.Allowed, k) }

// HeldBy reports whether somebody else than user holds the request at now.
func (r Review) HeldBy(user auth.UserID, now time.Time) bool {
	return r.ClaimedBy != "" && r.ClaimedBy != user && now.Before(r.ClaimedUntil)
}

// ClaimLease is how long a reviewer holds a request without doing anything.
const ClaimLease = 10 * time.Minute

// Decision is what one person says to one request.
type Decision struct {
	Review ReviewID
	Kind   DecisionKind
	// Shown is the hash of the arguments the person saw; nil means whatever
	// stands there, for clients that cannot say.
	Shown []byte
	// Args are the new arguments of an edit, Text a reason or an answer.
	Args json.RawMessage
	Text string
}

// ErrArgsChanged says that a decision is about other arguments than stand there.
var ErrArgsChanged = fault.Conflict("The arguments changed since you saw them. Look at the request again.").WithCode("review_changed")

// ReviewQuery selects a page of an organisation's requests.
type ReviewQuery struct {
	// Decided lists the history, newest first; otherwise the queue, first due
	// first.
	Decided   bool
	Tool      string
	Assistant AssistantID
	Requester auth.UserID
	// Mine narrows to what the scope holds (open) or decided.
	Mine bool
	// DueBefore narrows the queue to what is due by then.
	DueBefore time.Time
	// AfterTime and AfterID continue after that request.
	AfterTime time.Time
	AfterID   ReviewID
	// Limit is 1 to 100; default 50.
	Limit int
}

// ReviewCount is how many requests wait.
type ReviewCount struct{ Open, Mine int }

// Decided is what decisions on one thread's requests did.
type Decided struct {
	Thread  ThreadID
	Reviews []Review
	// Events were appended at Appended.
	Events   []event.Envelope
	Appended Appended
	// Resumed is the run that goes on; empty while others are undecided.
	Resumed RunID
}

// JournalStatus is what is known of a call's effect.
type JournalStatus string

// The states of a journalled call.
const (
	JournalReserved  JournalStatus = "reserved"  // may run, was not handed to the tool yet
	JournalSent      JournalStatus = "sent"      // handed to the tool, no answer yet
	JournalConfirmed JournalStatus = "confirmed" // the tool answered; the result is kept
	JournalUnknown   JournalStatus = "unknown"   // nobody knows whether it happened
)

// Journal is what stands in the tool journal of one call on one line.
type Journal struct {
	CallID string
	Round  int
	Status JournalStatus
	// Result is the tool's answer, as a message, once confirmed.
	Result *Message
}

// Reservation says that a call may run: in which round of decisions.
type Reservation struct {
	Call  ToolCall
	Round int
}

// CallRecord is all that is stored of one call: its newest request, if any, and
// its journal, if it was ever handed to its tool.
type CallRecord struct {
	Review  *Review
	Journal *Journal
}

// DueReview names a request whose time is over.
type DueReview struct {
	Org       auth.OrgID
	Review    ReviewID
	Requester auth.UserID
}
