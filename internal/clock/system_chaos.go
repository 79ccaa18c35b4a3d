//go:build chaos

package clock

import (
	"os"
	"sync"
	"time"
)

// SkewVariable says by how much the clock of a node of the fault protocol is
// wrong, as in -90s.
const SkewVariable = "CHAOS_SKEW"

var skew = sync.OnceValue(func() time.Duration {
	d, err := time.ParseDuration(os.Getenv(SkewVariable))
	if err != nil {
		return 0 // unset: the clock is right
	}
	return d
})

// Now returns the current time in UTC, off by the node's skew.
func (System) Now() time.Time { return time.Now().UTC().Add(skew()) }
