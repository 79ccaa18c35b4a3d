package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/outbound/egress"
)

// Store is the outbox.
type Store interface {
	// ClaimDeliveries takes at most limit deliveries whose attempt is due, for as
	// long as lease.
	ClaimDeliveries(ctx context.Context, limit int, lease time.Duration) ([]agents.DueDelivery, error)
	// KeepDelivery stores what is sent; agents.ErrFenced if the claim is gone.
	KeepDelivery(ctx context.Context, d agents.DueDelivery, body string) error
	// SettleDelivery notes what came of an attempt; agents.ErrFenced likewise.
	SettleDelivery(ctx context.Context, d agents.DueDelivery, o agents.DeliveryOutcome) error
}

// Client sends a request and follows no redirect.
type Client interface {
	Do(req *http.Request) (*http.Response, error)
}

// Options are what a deliverer works with.
type Options struct {
	Store   Store
	Client  Client
	Keyring *Keyring
	// Compose gives what is sent, a JSON object.
	Compose func(ctx context.Context, d agents.DueDelivery) (string, error)
	// Pace is [DefaultPace] when it is zero.
	Pace Pace
	// Poll is how often it looks for what is due; default 1 s.
	Poll time.Duration
	// AtOnce bounds the attempts under way; default 8.
	AtOnce int
	Clock  clock.Clock
	Logger *slog.Logger
}

// preparing bounds what comes before an attempt, and settling what comes after: the
// database's part. A claim lasts for all of it.
const (
	preparing = 20 * time.Second
	settling  = 10 * time.Second
)

// Deliverer attempts deliveries.
type Deliverer struct {
	o Options
	// freed is told when an attempt is over.
	freed chan struct{}
}

// New makes a deliverer.
func New(o Options) *Deliverer {
	if o.Pace == (Pace{}) {
		o.Pace = DefaultPace()
	}
	if o.Poll == 0 {
		o.Poll = time.Second
	}
	if o.AtOnce == 0 {
		o.AtOnce = 8
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	return &Deliverer{o: o, freed: make(chan struct{}, 1)}
}

// Run attempts what is due until ctx ends, and waits for attempts under way.
func (d *Deliverer) Run(ctx context.Context) {
	var attempts sync.WaitGroup
	defer attempts.Wait()
	busy := make(chan struct{}, d.o.AtOnce)
	for ctx.Err() == nil {
		var found []agents.DueDelivery
		free := d.o.AtOnce - len(busy)
		if free > 0 {
			var err error
			if found, err = d.o.Store.ClaimDeliveries(ctx, free, preparing+d.o.Pace.Timeout+settling); err != nil && ctx.Err() == nil {
				d.o.Logger.WarnContext(ctx, "deliveries could not be claimed, trying again", "err", err)
			}
		}
		for _, due := range found {
			busy <- struct{}{}
			attempts.Go(func() {
				d.attempt(context.WithoutCancel(ctx), due)
				<-busy
				select {
				case d.freed <- struct{}{}:
				default:
				}
			})
		}
		var freed <-chan struct{}
		if len(found) == free { // there may be more
			freed = d.freed
		}
		select {
		case <-ctx.Done():
		case <-freed:
		case <-d.o.Clock.After(d.o.Poll):
		}
	}
}

// errGone says that somebody else has the delivery.
var errGone = errors.New("the claim is gone")

func (d *Deliverer) attempt(ctx context.Context, due agents.DueDelivery) {
	log := d.o.Logger.With("org_id", due.Org, "delivery_id", due.ID, "run_id", due.Run, "attempt", due.Attempts)
	outcome, err := d.try(ctx, due)
	if errors.Is(err, errGone) {
		return
	}
	if err != nil {
		log.WarnContext(ctx, "webhook could not be prepared", "err", err)
		outcome = d.failed(due, "It could not be prepared: "+fault.Public(err), 0)
	}
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	switch err := d.o.Store.SettleDelivery(ctx, due, outcome); {
	case errors.Is(err, agents.ErrFenced):
		log.InfoContext(ctx, "webhook was attempted by somebody else meanwhile")
	case err != nil:
		log.ErrorContext(ctx, "what came of a webhook could not be noted: it will be sent again", "err", err)
	case outcome.Status == agents.DeliveryDead:
		log.WarnContext(ctx, "webhook given up", "answer", outcome.Answer, "failure", outcome.Failure)
	default:
		log.DebugContext(ctx, "webhook attempted", "status", outcome.Status, "answer", outcome.Answer, "failure", outcome.Failure)
	}
}

// try makes one attempt. An error is of our own making, not the receiver's.
func (d *Deliverer) try(ctx context.Context, due agents.DueDelivery) (agents.DeliveryOutcome, error) {
	if due.Attempts > d.o.Pace.Attempts { // its last ones ended with their processes
		return agents.DeliveryOutcome{Status: agents.DeliveryDead, Failure: "No attempt came to an end."}, nil
	}
	ready, cancel := context.WithTimeout(ctx, preparing)
	defer cancel()
	body := due.Body
	if body == "" {
		var err error
		if body, err = d.o.Compose(ready, due); err != nil {
			return agents.DeliveryOutcome{}, err
		}
		err = d.o.Store.KeepDelivery(ready, due, body)
		if errors.Is(err, agents.ErrFenced) {
			return agents.DeliveryOutcome{}, errGone
		}
		if err != nil {
			return agents.DeliveryOutcome{}, err
		}
	}
	secrets, err := d.o.Keyring.signing(ready, due)
	if err != nil {
		return agents.DeliveryOutcome{}, err
	}
	now := d.o.Clock.Now()
	sent := stamped(body, now)
	signature, err := Sign(secrets, string(due.ID), now, sent)
	if err != nil {
		return agents.DeliveryOutcome{}, err
	}
	ctx, stop := context.WithTimeout(ctx, d.o.Pace.Timeout)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, due.URL, bytes.NewReader(sent))
	if err != nil {
		return agents.DeliveryOutcome{Status: agents.DeliveryDead, Failure: "The address is none."}, nil
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(HeaderID, string(due.ID))
	req.Header.Set(HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(HeaderSignature, signature)
	return d.send(due, req), nil
}

// stamped adds to a JSON object when it is sent.
func stamped(body string, at time.Time) []byte {
	open := strings.TrimSuffix(body, "}")
	return fmt.Appendf(nil, `%s,"webhook_sent_at":%q}`, open, at.UTC().Format("2006-01-02T15:04:05.000Z"))
}

func (d *Deliverer) send(due agents.DueDelivery, req *http.Request) agents.DeliveryOutcome {
	resp, err := d.o.Client.Do(req)
	if errors.Is(err, egress.ErrRefused) {
		return agents.DeliveryOutcome{Status: agents.DeliveryDead, Failure: fault.Public(err)}
	}
	if err != nil {
		return d.failed(due, fault.Public(err), 0)
	}
	_ = resp.Body.Close() // what it says counts for nothing
	var outcome agents.DeliveryOutcome
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		outcome = agents.DeliveryOutcome{Status: agents.DeliveryDelivered}
	case code == http.StatusGone:
		outcome = agents.DeliveryOutcome{Status: agents.DeliveryDead, Failure: "The receiver answered 410: it wants no more."}
	case code >= 300 && code < 400:
		outcome = d.failed(due, fmt.Sprintf("The receiver answered %d; redirects are not followed.", code), 0)
	default:
		outcome = d.failed(due, fmt.Sprintf("The receiver answered %d.", code), asked(resp.Header))
	}
	outcome.Answer = resp.StatusCode
	return outcome
}

// failed lets another attempt follow, if there is one left.
func (d *Deliverer) failed(due agents.DueDelivery, why string, asked time.Duration) agents.DeliveryOutcome {
	if due.Attempts >= d.o.Pace.Attempts {
		return agents.DeliveryOutcome{Status: agents.DeliveryDead, Failure: why}
	}
	return agents.DeliveryOutcome{Status: agents.DeliveryPending, Failure: why, After: max(d.o.Pace.pause(due.Attempts, rand.Float64()), asked)}
}
