package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
)

func TestANewTitleIsInTheLogAtOnceAndTheSameTitleIsNot(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	changed := envelope(thread.ID, "thread.changed")
	at, err := b.db.RenameThread(ctx, b.mia, thread.ID, "A plan", changed)
	require.NoError(t, err)
	view, err := b.db.View(ctx, b.mia, thread.ID)
	require.NoError(t, err)
	require.Equal(t, "A plan", view.Thread.Title)
	require.Equal(t, at, view.Head)
	require.Len(t, view.Tail, 1)
	body, err := changed.Body()
	require.NoError(t, err)
	require.Equal(t, agents.LogRow{Seq: at.Seq, From: at.Seq, Type: "CUSTOM", Body: string(body)}, view.Tail[0])

	again, err := b.db.RenameThread(ctx, b.mia, thread.ID, "A plan", changed)
	require.NoError(t, err)
	require.Zero(t, again)
	_, head, err := b.db.Log(ctx, b.mia, thread.ID, 0, 0)
	require.NoError(t, err)
	require.Equal(t, at, head)
}
