package middleware

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// IdempotencyHeader is the header by which a client names a request, so that
// it may send it again when it can't tell whether the first arrived
// (draft-ietf-httpapi-idempotency-key-header).
const IdempotencyHeader = "Idempotency-Key"

// IdempotentReplayed is set to "true" on an answer that was given before.
const IdempotentReplayed = "Idempotent-Replayed"

// Bounds of what is kept.
const (
	maxIdempotencyKey = 200     // characters
	maxKeptBody       = 1 << 20 // bytes
	keepingTimeout    = 5 * time.Second
)

// keptHeaders are repeated with an answer; all others belong to the moment.
var keptHeaders = [...]string{fiber.HeaderContentType, fiber.HeaderContentLocation, fiber.HeaderLocation}

// kept is what a ledger keeps of a response. Body is nil when the response was
// too large, a stream, or a secret.
type kept = struct {
	Status  int
	Headers map[string]string
	Body    []byte
}

// IdempotencyLedger remembers which requests of a person were carried out. Its
// claims are as those of store.Idempotency.
type IdempotencyLedger interface {
	// Begin claims key for a request with the given hash: a claim means carry
	// it out, an answer means it was. Faults: conflict while the first one is at
	// work, invalid when the key was used for another request.
	Begin(ctx context.Context, scope auth.Scope, key string, hash []byte) (claim string, answer *kept, err error)
	// Finish keeps the answer.
	Finish(ctx context.Context, scope auth.Scope, key, claim string, answer kept) error
	// Abandon frees the key, so that the request may be sent again.
	Abandon(ctx context.Context, scope auth.Scope, key, claim string) error
}

// Idempotency carries out a request that may change something and has the
// header Idempotency-Key once: the same request again gets the first one's
// answer. It stands after the identity of the request is known. Answers that
// say "not now" (429 and 500 and above) are not kept: the request may be sent
// again with the same key.
func Idempotency(ledger IdempotencyLedger, log *slog.Logger) fiber.Handler {
	return func(c *fiber.Ctx) error {
		switch c.Method() {
		case fiber.MethodGet, fiber.MethodHead, fiber.MethodOptions:
			return c.Next()
		}
		key := utils.CopyString(c.Get(IdempotencyHeader))
		if len(c.Request().Header.PeekAll(IdempotencyHeader)) == 0 {
			return c.Next()
		}
		if !validIdempotencyKey(key) {
			return fault.Invalid(IdempotencyHeader, "must be 1 to 200 printable ASCII characters")
		}
		claim, answer, err := ledger.Begin(c.UserContext(), Scope(c), key, requestHash(c))
		if err != nil {
			return err
		}
		if answer != nil {
			return replay(c, *answer)
		}
		return carryOut(c, attempt{ledger: ledger, log: log, scope: Scope(c), key: key, claim: claim, request: RequestIDOf(c)})
	}
}

// KeepSecret says that this answer holds a secret, which must not lie in the
// memory of requests: the same request again is told that it was carried out.
func KeepSecret(c *fiber.Ctx) { c.Locals(localSecret, true) }

func validIdempotencyKey(key string) bool {
	if len(key) < 1 || len(key) > maxIdempotencyKey {
		return false
	}
	for i := range len(key) {
		if key[i] < 0x20 || key[i] > 0x7e {
			return false
		}
	}
	return true
}

// requestHash tells requests apart by method, address, type and body.
func requestHash(c *fiber.Ctx) []byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(c.Method()), []byte(c.OriginalURL()), c.Request().Header.ContentType(), c.Request().Body()} {
		// The length keeps the parts from running into each other. A hash's
		// Write never fails.
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		_, _ = h.Write(part)
	}
	return h.Sum(nil)
}

func replay(c *fiber.Ctx, answer kept) error {
	for _, name := range keptHeaders {
		if value, ok := answer.Headers[name]; ok && (answer.Body != nil || name != fiber.HeaderContentType) {
			c.Set(name, value)
		}
	}
	c.Set(IdempotentReplayed, "true")
	if answer.Body == nil {
		return fault.Conflict("This request was carried out, but its answer was not kept.").
			WithCode("idempotency_answer_not_kept")
	}
	return c.Status(answer.Status).Send(answer.Body)
}

// attempt is a claim and what is needed to end it.
type attempt struct {
	ledger  IdempotencyLedger
	log     *slog.Logger
	scope   auth.Scope
	key     string
	claim   string
	request string
}

// carryOut runs the handlers that follow and ends the claim by their answer. A
// panic passes through and frees the key.
func carryOut(c *fiber.Ctx, a attempt) error {
	// The client may be gone by then; its next try needs the answer even more.
	ctx := context.WithoutCancel(c.UserContext())
	answered := false
	defer func() {
		if !answered {
			a.abandon(ctx)
		}
	}()
	if err := c.Next(); err != nil {
		// The answer to a failure is written here, so that it can be kept.
		if err := c.App().ErrorHandler(c, err); err != nil {
			return err
		}
	}
	response := c.Response()
	status := response.StatusCode()
	if status >= fiber.StatusInternalServerError || status == fiber.StatusTooManyRequests {
		return nil
	}
	answer := kept{Status: status, Headers: map[string]string{}}
	for _, name := range keptHeaders {
		if value := response.Header.Peek(name); len(value) > 0 {
			answer.Headers[name] = string(value)
		}
	}
	if !response.IsBodyStream() && len(response.Body()) <= maxKeptBody && c.Locals(localSecret) == nil {
		answer.Body = append([]byte{}, response.Body()...)
	}
	answered = true
	a.finish(ctx, answer)
	return nil
}

// finish keeps the answer. The request was carried out whether this succeeds
// or not, so its client hears no failure; the key stays in flight for a while.
func (a attempt) finish(ctx context.Context, answer kept) {
	ctx, cancel := context.WithTimeout(ctx, keepingTimeout)
	defer cancel()
	if err := a.ledger.Finish(ctx, a.scope, a.key, a.claim, answer); err != nil {
		a.log.WarnContext(ctx, "an answer could not be kept", "request_id", a.request, "org_id", a.scope.Org, "err", err)
	}
}

func (a attempt) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, keepingTimeout)
	defer cancel()
	if err := a.ledger.Abandon(ctx, a.scope, a.key, a.claim); err != nil {
		a.log.WarnContext(ctx, "an idempotency key could not be freed", "request_id", a.request, "org_id", a.scope.Org, "err", err)
	}
}
