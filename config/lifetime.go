package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Lifetime is how long something is kept; zero is for ever.
type Lifetime time.Duration

// maxLifetime is a hundred years.
const maxLifetime = 36_525 * 24 * time.Hour

// UnmarshalText reads minutes, as in 43200, or a number with a unit, as in 90m, 12h
// or 30d.
func (l *Lifetime) UnmarshalText(text []byte) error {
	*l = 0
	word := strings.TrimSpace(string(text))
	if word == "" {
		return nil
	}
	number, unit := word, time.Minute
	for suffix, u := range map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour} {
		if rest, ok := strings.CutSuffix(word, suffix); ok {
			number, unit = rest, u
		}
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return fmt.Errorf("%q is not a lifetime: minutes, such as 43200, or a number with its unit, such as 90m, 12h or 30d", word)
	}
	if n > uint64(maxLifetime/unit) {
		return fmt.Errorf("%q is more than a hundred years", word)
	}
	*l = Lifetime(time.Duration(n) * unit)
	return nil
}

// String is the lifetime in its largest whole unit, nothing for ever.
func (l Lifetime) String() string {
	d := time.Duration(l)
	switch {
	case d == 0:
		return ""
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
}
