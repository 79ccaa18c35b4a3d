package app

import (
	"context"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers"
	"github.com/heddle/heddle/store"
)

// documents is the pages' view of the store.
type documents struct{ db *store.DB }

// Document implements handlers.Documents.
func (d documents) Document(ctx context.Context, scope auth.Scope, slug string) (handlers.Document, error) {
	found, err := d.db.Document(ctx, scope, slug)
	if err != nil {
		return handlers.Document{}, err
	}
	return handlers.Document{Title: found.Title, Body: found.Body, UpdatedAt: found.UpdatedAt}, nil
}
