// Package model is the contract between a graph and a chat model: one request
// in, one stream of chunks out, whoever the provider is. Each provider is a
// package of its own below this one; script is the mock that needs no key.
//
// Invariants:
//   - one call, two consumers: the tokens people watch and the authoritative
//     message come from the same stream, see [Collect];
//   - a stream is cut short by its context within moments and leaves no
//     goroutine behind;
//   - every failure a provider can name is an [*Error] with a closed kind, so
//     that retry and fallback never read texts;
//   - what a provider needs back byte for byte (signed reasoning) travels in
//     [Block.Raw] and is never re-encoded.
//
// Graphs, runs and the composition root may import it. It imports the standard
// library and internal leaves only. Package modeltest holds the suite that
// every provider passes.
package model

import (
	"context"
	"iter"
)

// Model answers requests as streams. Implementations are safe for concurrent
// use.
type Model interface {
	// Stream starts one call when the sequence is ranged over, and ends it
	// when the loop ends, for whatever reason. The chunks keep the order that
	// [Chunk] describes and end with exactly one [ChunkFinish].
	//
	// A failure is the last pair of the sequence: a zero chunk and an error
	// that is either an [*Error] or wraps the context's error. What came
	// before it is not a whole message.
	//
	// The sequence may be ranged over once; a second loop is a second call.
	Stream(ctx context.Context, req Request) iter.Seq2[Chunk, error]
}
