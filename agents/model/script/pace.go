package script

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/internal/clock"
)

// firstToken is how many tokens' time pass before the first one: about a third
// of a second at the usual pace.
const firstToken = 15

// pace gives the pauses between tokens, in an order that the seed fixes.
type pace struct {
	mean  time.Duration
	clock clock.Clock
	rand  *rand.Rand
}

func newPace(rate float64, c clock.Clock, seed string) *pace {
	p := &pace{clock: c}
	if rate > 0 {
		p.mean = time.Duration(float64(time.Second) / rate)
		h := hash(seed)
		p.rand = rand.New(rand.NewPCG(h, h))
	}
	return p
}

func (p *pace) first() time.Duration { return firstToken * p.mean }

func (p *pace) next() time.Duration {
	if p.mean == 0 {
		return 0
	}
	return time.Duration((0.5 + p.rand.Float64()) * float64(p.mean))
}

// wait pauses for d; when the context ends it reports that and returns false.
// No pause still looks at the context.
func (s *sender) wait(ctx context.Context, d time.Duration) bool {
	if ctx.Err() == nil && d > 0 {
		select {
		case <-ctx.Done():
		case <-s.pace.clock.After(d):
		}
	}
	if err := ctx.Err(); err != nil {
		s.yield(model.Chunk{}, fmt.Errorf("streaming from the mock model: %w", err))
		return false
	}
	return true
}

func hash(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // a hash never fails to write
	return h.Sum64()
}
