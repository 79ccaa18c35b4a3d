//go:build linux

package main

import (
	"fmt"
	"slices"
	"time"
)

// quantile of durations, sorted in place, in milliseconds.
func quantile(d []time.Duration, q float64) float64 {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return float64(d[int(q*float64(len(d)-1)+0.5)].Microseconds()) / 1000
}

// spread is a figure's median over the rounds with its extremes.
type spread struct{ low, mid, high float64 }

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	v := slices.Sorted(slices.Values(values))
	mid := v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (v[len(v)/2-1] + mid) / 2
	}
	return spread{low: v[0], mid: mid, high: v[len(v)-1]}
}

func (s spread) show(format string) string {
	return fmt.Sprintf(format+" ["+format+"-"+format+"]", s.mid, s.low, s.high)
}

// each maps rounds to one of their figures.
func each[T any](rounds []T, figure func(T) float64) []float64 {
	out := make([]float64, len(rounds))
	for i, r := range rounds {
		out[i] = figure(r)
	}
	return out
}

// ratios divides two contenders round by round: what disturbed a round
// disturbed both.
func ratios(of, over []float64) []float64 {
	out := make([]float64, 0, len(of))
	for i := range min(len(of), len(over)) {
		if over[i] > 0 {
			out = append(out, of[i]/over[i])
		}
	}
	return out
}
