//go:build !chaos

package clock

import "time"

// Now returns the current time in UTC.
func (System) Now() time.Time { return time.Now().UTC() }
