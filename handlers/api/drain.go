package api

import (
	"context"
	"fmt"
	"io"

	"github.com/heddle/heddle/internal/fault"
)

// lasting are the calls that stay open for as long as something lasts: a server
// that stops has to end them itself.
type lasting struct {
	ctx context.Context
	end context.CancelFunc
}

func newLasting() lasting {
	ctx, end := context.WithCancel(context.Background())
	return lasting{ctx, end}
}

// EndStreams breaks off all streams behind a whole frame, and refuses further
// ones: their clients go on elsewhere, after the last id. A whole answer would
// say that there is nothing more to come.
func (a *API) EndStreams() { a.streaming.end() }

// EndWaits answers all calls that wait for a run that it goes on without them.
func (a *API) EndWaits() { a.waiting.end() }

// errMoved breaks a stream off. The web server takes a connection that ends so for
// an everyday matter and does not log it.
var errMoved = fmt.Errorf("the server is shutting down: %w", io.ErrUnexpectedEOF)

// movedCode is what clients know the end by.
const movedCode = "draining"

// staying refuses what would have to be ended at once.
func (a *API) staying() error {
	if a.streaming.ctx.Err() == nil {
		return nil
	}
	return fault.Unavailable("This server is shutting down. Ask again in a moment.", nil).WithCode(movedCode)
}

// movedValues is the answer of a waiting call whose server stops.
func movedValues() []byte {
	return errorValues(movedCode, "This server is shutting down. The run goes on: Content-Location says where it is found.")
}
