package model

import (
	"context"
	"iter"
)

// nothing answers every request with an empty message.
type nothing struct{}

func (nothing) Stream(context.Context, Request) iter.Seq2[Chunk, error] {
	return stream(nil, FinishChunk(FinishStop))
}
