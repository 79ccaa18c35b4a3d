package middleware

import (
	"container/list"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
)

// Rate is how often one caller may do a thing: Burst times at once, and
// PerMinute again in each minute. The zero rate sets no limit.
type Rate struct{ PerMinute, Burst int }

// maxCallers bounds what one limiter remembers (LG-44). Beyond it the caller
// who was away longest is forgotten, and with them at most one burst.
const maxCallers = 10_000

// Limiter is a token bucket per caller, on this node (control 21). A bucket
// that is full again is the same as none, so it is dropped: no goroutine has to
// sweep. Safe for concurrent use.
type Limiter struct {
	rate  Rate
	clock clock.Clock

	mu      sync.Mutex
	callers map[string]*list.Element
	// order has the caller who came last in front.
	order *list.List
}

// bucket is how many tokens a caller had at a moment.
type bucket struct {
	caller string
	tokens float64
	at     time.Time
}

// NewLimiter makes a limiter.
func NewLimiter(rate Rate, clk clock.Clock) *Limiter {
	return &Limiter{rate: rate, clock: clk, callers: make(map[string]*list.Element), order: list.New()}
}

// Spent is what a caller's bucket looks like after a request.
type Spent struct {
	// Limit is how many tokens a full bucket has, Remaining how many are left.
	Limit, Remaining int
	// Wait is how long until there is a token, zero when there was one; Full is
	// how long until the bucket is full.
	Wait, Full time.Duration
}

// Take takes a token of the caller. Without one it gives how long the caller
// has to wait for it, else zero.
func (l *Limiter) Take(caller string) time.Duration { return l.Spend(caller).Wait }

// Spend is Take with all that a caller may be told; the zero value when there is
// no limit.
func (l *Limiter) Spend(caller string) Spent {
	if l.rate.PerMinute <= 0 {
		return Spent{}
	}
	now := l.clock.Now()
	burst, perSecond := float64(max(1, l.rate.Burst)), float64(l.rate.PerMinute)/60
	seconds := func(tokens float64) time.Duration { return time.Duration(tokens / perSecond * float64(time.Second)) }
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now, seconds(burst))
	at, known := l.callers[caller]
	if !known {
		at = l.order.PushFront(&bucket{caller: caller, tokens: burst, at: now})
		l.callers[caller] = at
	}
	l.order.MoveToFront(at)
	b := at.Value.(*bucket)
	b.tokens = min(burst, b.tokens+max(0, now.Sub(b.at).Seconds())*perSecond)
	b.at = now
	out := Spent{Limit: int(burst)}
	if b.tokens < 1 {
		out.Wait = seconds(1 - b.tokens)
	} else {
		b.tokens--
	}
	out.Remaining, out.Full = int(b.tokens), seconds(burst-b.tokens)
	return out
}

// forget drops callers who have been away for as long as an empty bucket takes
// to fill, and makes room for one more. The lock is held.
func (l *Limiter) forget(now time.Time, full time.Duration) {
	for last := l.order.Back(); last != nil; last = l.order.Back() {
		b := last.Value.(*bucket)
		if now.Sub(b.at) < full && l.order.Len() < maxCallers {
			return
		}
		delete(l.callers, b.caller)
		l.order.Remove(last)
	}
}

// Len is how many callers are remembered.
func (l *Limiter) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.order.Len()
}

// Allow is Take as a fault of kind limited, nil when there was a token;
// [RetryAfter] reads from it how long to wait.
func (l *Limiter) Allow(caller string) error { return refuse(l.Take(caller)) }

func refuse(wait time.Duration) error {
	if wait == 0 {
		return nil
	}
	cause := tooSoon{seconds: wholeSeconds(wait)}
	return fault.Limited(fmt.Sprintf("That was too often in a short time. Try again in %d s.", cause.seconds)).
		WithCode("rate_limited").WithCause(cause)
}

func wholeSeconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// ByKey limits requests per API key, those of a browser per person, and says on
// every answer how many are left: RateLimit-Limit, -Remaining and -Reset (in
// seconds until all are back). These three fields are what clients and proxies
// read today; the one structured field RateLimit that the IETF's later drafts
// have has changed its form with each of them.
func (l *Limiter) ByKey(c *fiber.Ctx) error {
	scope := Scope(c)
	caller := string(scope.Key)
	if caller == "" {
		caller = "user " + string(scope.User)
	}
	spent := l.Spend(caller)
	if spent.Limit > 0 {
		c.Set("RateLimit-Limit", strconv.Itoa(spent.Limit))
		c.Set("RateLimit-Remaining", strconv.Itoa(spent.Remaining))
		c.Set("RateLimit-Reset", strconv.Itoa(wholeSeconds(spent.Full)))
	}
	return refuse(spent.Wait)
}

// ByAddress limits a route per network address.
func (l *Limiter) ByAddress(c *fiber.Ctx) error {
	if err := l.Allow(network(AddressOf(c))); err != nil {
		return err
	}
	return c.Next()
}

// ByUser limits a route per person; it stands after Page or API.
func (l *Limiter) ByUser(c *fiber.Ctx) error {
	if err := l.Allow(string(Scope(c).User)); err != nil {
		return err
	}
	return c.Next()
}

// tooSoon is the cause of a limited fault that knows when to come back.
type tooSoon struct{ seconds int }

func (t tooSoon) Error() string { return "no token for " + strconv.Itoa(t.seconds) + " s" }

// defaultRetry is what a failure that passes by itself says when it doesn't
// know better, in seconds.
const defaultRetry = "2"

// RetryAfter sets the header of that name for a failure that passes by itself.
func RetryAfter(c *fiber.Ctx, err error) {
	var known tooSoon
	switch {
	case errors.As(err, &known):
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(known.seconds))
	case fault.Is(err, fault.KindLimited), fault.Is(err, fault.KindUnavailable):
		c.Set(fiber.HeaderRetryAfter, defaultRetry)
	}
}

// network is who counts as one caller: an IPv4 address, or the /64 that one
// IPv6 customer has at least.
func network(addr netip.Addr) string {
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}
