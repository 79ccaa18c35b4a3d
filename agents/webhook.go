package agents

import (
	"slices"
	"time"

	"github.com/heddle/heddle/auth"
)

// DeliveryID names what is sent to a webhook about one run: receivers tell by it
// that they have seen it. It is a UUID in canonical form.
type DeliveryID string

// DeliveryStatus is how far a delivery has come.
type DeliveryStatus string

// The statuses of a delivery.
const (
	DeliveryPending   DeliveryStatus = "pending"   // an attempt is due or under way
	DeliveryDelivered DeliveryStatus = "delivered" // the receiver took it
	DeliveryDead      DeliveryStatus = "dead"      // given up; it can be put back in line
)

// DeliveryStatuses lists every status of a delivery.
func DeliveryStatuses() []DeliveryStatus {
	return []DeliveryStatus{DeliveryPending, DeliveryDelivered, DeliveryDead}
}

// Valid reports whether s is a known status.
func (s DeliveryStatus) Valid() bool { return slices.Contains(DeliveryStatuses(), s) }

// Delivery is what a webhook is told of one run that ended.
type Delivery struct {
	ID     DeliveryID
	Org    auth.OrgID
	Run    RunID
	Thread ThreadID
	URL    string
	Status DeliveryStatus
	// Attempts counts those that began.
	Attempts int
	// DueAt is when the next attempt is due; during one, when it counts as lost.
	DueAt time.Time
	// Answer is the HTTP status of the last answer, 0 if there was none.
	Answer int
	// Failure says why the last attempt came to nothing; empty after one that did
	// not fail.
	Failure   string
	CreatedAt time.Time
	// SettledAt is when it was delivered or given up; zero while it is pending.
	SettledAt time.Time
}

// DueDelivery is a delivery that somebody attempts.
type DueDelivery struct {
	Delivery
	// Claim names the attempt: whoever no longer has it changes nothing.
	Claim string
	// Ended is the run as it was when it ended, without its input.
	Ended Run
	// Body is what is sent; empty until the first attempt has made it.
	Body string
	// Secrets are those it is signed with, the newest first.
	Secrets []SealedSecret
}

// DeliveryOutcome is what came of an attempt.
type DeliveryOutcome struct {
	// Status is pending where another attempt follows, in After.
	Status  DeliveryStatus
	After   time.Duration
	Answer  int
	Failure string
}

// SealedSecret is an encrypted secret that webhooks of an organisation are signed
// with.
type SealedSecret struct {
	ID        string
	Sealed    []byte
	CreatedAt time.Time
	// EndsAt is when it signs no more; zero for the newest.
	EndsAt time.Time
}

// WebhookSecret is such a secret in clear, in the form whsec_BASE64.
type WebhookSecret struct {
	ID        string
	Secret    auth.Token
	CreatedAt time.Time
	EndsAt    time.Time
}
