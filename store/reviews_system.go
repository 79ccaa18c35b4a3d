package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
)

const sqlReviewsDue = `select org_id::text as org, id::text as review, requester_id::text as requester from reviews
	where status = 'open' and due_at <= now() order by due_at limit @limit`

// DueReviews lists open requests of any organisation whose time is over, the
// longest over first.
func (db *DB) DueReviews(ctx context.Context, limit int) ([]agents.DueReview, error) {
	rows, err := db.system.Query(ctx, sqlReviewsDue, named{"limit": limit})
	if err != nil {
		return nil, fmt.Errorf("listing reviews that ran out: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[agents.DueReview])
	if err != nil {
		return nil, fmt.Errorf("listing reviews that ran out: %w", err)
	}
	return found, nil
}
