package agents

import (
	"encoding/json"
	"time"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// RunStatus is a run's state inside Heddle.
type RunStatus string

// The statuses of a run (design: "Status").
const (
	RunPending   RunStatus = "pending"
	RunRunning   RunStatus = "running"
	RunWaiting   RunStatus = "waiting" // an interrupt is open
	RunSuccess   RunStatus = "success"
	RunFailed    RunStatus = "error"
	RunTimeout   RunStatus = "timeout"
	RunCancelled RunStatus = "cancelled" // a person, or a strategy, ended it
)

// Ended reports whether the run will not go on by itself or by an answer.
func (s RunStatus) Ended() bool {
	switch s {
	case RunSuccess, RunFailed, RunTimeout, RunCancelled:
		return true
	default:
		return false
	}
}

// API gives the status in the Agent Server's words.
func (s RunStatus) API() string {
	switch s {
	case RunWaiting:
		return "success"
	case RunCancelled:
		return "interrupted"
	default:
		return string(s)
	}
}

// StatusesOf gives the statuses that the Agent Server calls by a word; none for a
// word it does not have.
func StatusesOf(word string) []RunStatus {
	var out []RunStatus
	for _, s := range []RunStatus{RunPending, RunRunning, RunWaiting, RunSuccess, RunFailed, RunTimeout, RunCancelled} {
		if s.API() == word {
			out = append(out, s)
		}
	}
	return out
}

// Strategy decides what new input does to a busy thread (double texting).
type Strategy string

// The strategies. Enqueue is the default (C-01).
const (
	StrategyReject    Strategy = "reject"
	StrategyEnqueue   Strategy = "enqueue"
	StrategyInterrupt Strategy = "interrupt"
	StrategyRollback  Strategy = "rollback"
)

// ParseStrategy reads a strategy; the empty string, which leaves the choice to the
// assistant, stays empty.
func ParseStrategy(field, s string) (Strategy, error) {
	switch strategy := Strategy(s); strategy {
	case "", StrategyReject, StrategyEnqueue, StrategyInterrupt, StrategyRollback:
		return strategy, nil
	default:
		return "", fault.Invalid(field, "must be one of enqueue, reject, interrupt, rollback")
	}
}

// Displaces reports whether a run with this strategy goes before all others on
// its thread.
func (s Strategy) Displaces() bool { return s == StrategyInterrupt || s == StrategyRollback }

// The reasons of runs that ended for new input.
const (
	ReasonDisplaced  = "displaced by new input"
	ReasonRolledBack = "rolled back by new input"
	ReasonTakenBack  = "taken back"
)

// RunInput is what a run brings to its thread.
type RunInput struct {
	// Messages are appended before the first node, their ids already final.
	Messages []Message `json:"messages,omitempty"`
	// Resume goes on from where the thread stands instead of beginning.
	Resume *Resume `json:"resume,omitempty"`
	// Break are nodes at which a developer wants the run to pause.
	Break *Breakpoints `json:"break,omitempty"`
	// Context are the fields a client gives with a run, for graphs that ask for
	// them. They never say who acts.
	Context map[string]json.RawMessage `json:"context,omitempty"`
	// Values are written to channels beside the messages, each through its reducer.
	Values map[string]json.RawMessage `json:"values,omitempty"`
	// Checkpoint, where it is given, is an older one than the thread's newest: the
	// run begins a line of its own there.
	Checkpoint string `json:"checkpoint,omitempty"`
	// RecursionLimit bounds its super-steps in place of its assistant's limit.
	RecursionLimit int `json:"recursion_limit,omitempty"`
}

// MaxDelay bounds how long a run may wait before it takes its place in line.
const MaxDelay = 30 * 24 * time.Hour

// MaxWebhook bounds the address that is told of a run's end, in characters.
const MaxWebhook = 2000

// Breakpoints are nodes at which a developer wants a run to pause. "*" is every
// node; a node of a subgraph is written SUB/NODE.
type Breakpoints struct {
	Before []string `json:"before,omitempty"`
	After  []string `json:"after,omitempty"`
}

// Fresh reports whether nothing of a run has begun: it only stands in line. One
// that brings an answer goes on with what has.
func (r Run) Fresh() bool {
	return r.Status == RunPending && r.Attempt == 0 && !r.CancelRequested && !r.Input.Answers()
}

// Answers reports whether it goes on from a pause: what was paused waits for it.
func (in RunInput) Answers() bool { return in.Resume != nil && in.Resume.Of != "" }

// RunQuery selects runs of a thread, newest first.
type RunQuery struct {
	// Statuses are those to list; none means all.
	Statuses      []RunStatus
	Limit, Offset int
}

// RunError says why a run ended as error or timeout.
type RunError struct {
	// Code is a stable word: "node_failed", "attempts_exhausted", "timeout" …
	Code string `json:"code"`
	// Message is safe to show to people.
	Message string `json:"message"`
	// Node is where it happened, if anywhere.
	Node string `json:"node,omitempty"`
	// Attempts are those at the step that failed, if there was more than one.
	Attempts []Attempt `json:"attempts,omitempty"`
}

// AttemptEnd says why an attempt came to no good end.
type AttemptEnd string

// The ends of attempts.
const (
	AttemptProcessGone  AttemptEnd = "process_gone"  // the worker died, or lost the database
	AttemptLeaseExpired AttemptEnd = "lease_expired" // the worker lives, and did not renew
	AttemptPanic        AttemptEnd = "panic"
	AttemptTimeout      AttemptEnd = "timeout"
	AttemptFailed       AttemptEnd = "failed"
)

// Attempt is one of several at one step of a run.
type Attempt struct {
	// Attempt counts all attempts of the run, from 1.
	Attempt int       `json:"attempt"`
	BeganAt time.Time `json:"began_at"`
	// EndedAt is when it failed, when its lease ran out, or when its worker was
	// found gone.
	EndedAt time.Time `json:"ended_at"`
	// Worker is what the worker is called: its machine's name.
	Worker string     `json:"worker,omitempty"`
	Why    AttemptEnd `json:"why"`
}

// Run is one execution on a thread.
type Run struct {
	ID               RunID
	Org              auth.OrgID
	Thread           ThreadID
	Position         int64
	Assistant        AssistantID
	AssistantVersion int
	User             auth.UserID
	Key              auth.KeyID
	Status           RunStatus
	Strategy         Strategy
	Input            RunInput
	// Request is what an API client sent, verbatim, for the field kwargs.
	Request  json.RawMessage
	Metadata json.RawMessage
	// Manifest is nil until the run begins.
	Manifest *Manifest
	Attempt  int
	// Failures counts, and Lost tells of, the attempts at the present step that
	// were lost with their workers.
	Failures int
	Lost     []Attempt
	// ClaimedAt is when the newest attempt began.
	ClaimedAt time.Time
	Token     int64
	// CancelRequested is set once somebody asked the run to stop.
	CancelRequested bool
	CancelReason    string
	Error           *RunError
	CreatedAt       time.Time
	StartedAt       time.Time
	EndedAt         time.Time
	UpdatedAt       time.Time
	// RunAfter is when it may begin at the earliest.
	RunAfter time.Time
	// Webhook is the address that is told of its end; empty for none.
	Webhook string
	// BaseLine is the line that was the thread's before the run began one of its
	// own at an older checkpoint.
	BaseLine LineID
}

// OpenWork is a run that has not ended, as operators see it.
type OpenWork struct {
	Run     Run
	OrgSlug string
}
