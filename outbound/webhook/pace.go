package webhook

import (
	"net/http"
	"strconv"
	"time"
)

// Pace is how often and how long a delivery is attempted.
type Pace struct {
	// Attempts is how many there are in all.
	Attempts int
	// First is the pause after the first attempt; each next one is three times as
	// long. All are a fifth shorter or longer by chance, so that what failed
	// together is not repeated together.
	First time.Duration
	// Timeout bounds one attempt, from looking up the host to the answer.
	Timeout time.Duration
}

// DefaultPace is ten attempts within about 14 hours: after 5 s, 15 s, 45 s, 2, 7, 20
// minutes, 1, 3 and 9 hours.
func DefaultPace() Pace {
	return Pace{Attempts: 10, First: 5 * time.Second, Timeout: 10 * time.Second}
}

// factor is how much longer each pause is than the one before.
const factor = 3

// maxAsked bounds the pause that a receiver may ask for.
const maxAsked = time.Hour

// pause is how long to wait after an attempt, counted from 1; chance is from 0 to 1.
func (p Pace) pause(attempt int, chance float64) time.Duration {
	wait := float64(p.First)
	for range attempt - 1 {
		wait *= factor
	}
	return time.Duration(wait * (0.8 + 0.4*chance))
}

// asked is the pause that an answer asks for in seconds; 0 if it asks for none.
func asked(header http.Header) time.Duration {
	seconds, err := strconv.Atoi(header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxAsked)
}
