package prebuilt

import (
	"context"
	"errors"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/review"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// marking is a ledger whose failures do not fail the run: one that can't read
// what was decided, or note what is called, is left for another attempt.
type marking struct{ review.Ledger }

func (m marking) CallRecords(ctx context.Context, scope auth.Scope, line agents.LineID, calls []string) (map[string]agents.CallRecord, error) {
	found, err := m.Ledger.CallRecords(ctx, scope, line, calls)
	return found, mark(ctx, err)
}

func (m marking) ReserveCalls(ctx context.Context, scope auth.Scope, lease agents.Lease, line agents.LineID, calls []agents.Reservation) error {
	return mark(ctx, m.Ledger.ReserveCalls(ctx, scope, lease, line, calls))
}

func (m marking) SendCall(ctx context.Context, scope auth.Scope, lease agents.Lease, line agents.LineID, call agents.ToolCall, round int) error {
	return mark(ctx, m.Ledger.SendCall(ctx, scope, lease, line, call, round))
}

func (m marking) ConfirmCall(ctx context.Context, scope auth.Scope, lease agents.Lease, line agents.LineID, call string, round int, result *agents.Message) error {
	return mark(ctx, m.Ledger.ConfirmCall(ctx, scope, lease, line, call, round, result))
}

// mark leaves alone what has a meaning of its own, such as a lost lease, and what
// the end of the attempt brings about.
func mark(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	ended := cause != nil && !errors.Is(cause, context.DeadlineExceeded) // which is the ledger's own
	if err == nil || ended || fault.KindOf(err) != fault.KindInternal {
		return err
	}
	return &agents.StorageError{Err: err}
}
