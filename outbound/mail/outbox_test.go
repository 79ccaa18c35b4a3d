package mail_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/outbound/mail"
)

func outbox(t *testing.T) (*mail.Outbox, string) {
	t.Helper()
	data := t.TempDir()
	out, err := mail.New(mail.Options{DataDir: data, Clock: clock.NewFake(noon)})
	require.NoError(t, err)
	box, ok := out.(*mail.Outbox)
	require.True(t, ok)
	return box, filepath.Join(data, mail.OutboxDir)
}

func TestEveryAcceptedMessageIsOneFile(t *testing.T) {
	t.Parallel()
	box, dir := outbox(t)
	empty, err := box.List(10)
	require.NoError(t, err)
	require.NotNil(t, empty)
	require.Empty(t, empty)

	m := mail.Message{To: "bob@example.com", Subject: "Größe 漢字 — " + strings.Repeat("lang ", 30) + "x", Body: "a\n.\nb = c  \n\nä", Key: "k"}
	require.NoError(t, box.Send(t.Context(), m))
	require.NoError(t, box.Send(t.Context(), m))
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, files, 2, "the same message twice is two files, and nothing else is there")
	all, err := box.List(10)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.NotEqual(t, all[0].ID, all[1].ID)
	for _, s := range all {
		require.Equal(t, m.To, s.To)
		require.Equal(t, m.Subject, s.Subject)
		require.Equal(t, m.Body, s.Body)
		require.Equal(t, mail.MessageID("k", "heddle.test"), s.MessageID)
		require.True(t, s.At.Equal(noon))
	}
	require.Error(t, box.Send(t.Context(), mail.Message{To: "nobody", Subject: "s", Body: "b", Key: "k"}))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, box.Send(ended, m), context.Canceled)
	all, err = box.List(10)
	require.NoError(t, err)
	require.Len(t, all, 2, "a refused message is no file")
}

func TestTheNewestIsFirstAndTheOldestGo(t *testing.T) {
	t.Parallel()
	box, dir := outbox(t)
	require.NoError(t, os.Mkdir(dir, 0o700))
	for i := range mail.OutboxSize {
		// Older than anything that is sent now, as the sending would take long.
		name := fmt.Sprintf("01000000-0000-7000-8000-%012d.eml", i)
		text := fmt.Sprintf("From: a@b.de\r\nTo: bob@example.com\r\nSubject: %d\r\nDate: Wed, 01 Jul 2026 12:00:00 +0000\r\n\r\nx", i)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	half := filepath.Join(dir, ".new-1")
	require.NoError(t, os.WriteFile(half, nil, 0o600))
	require.NoError(t, os.Chtimes(half, noon, noon.Add(-2*time.Hour)))
	for i := range 3 {
		m := hello()
		m.Subject = fmt.Sprintf("new %d", i)
		require.NoError(t, box.Send(t.Context(), m))
	}
	require.NoFileExists(t, half)
	all, err := box.List(mail.OutboxSize + 10)
	require.NoError(t, err)
	require.Len(t, all, mail.OutboxSize)
	require.Equal(t, []string{"new 2", "new 1", "new 0", "999"}, []string{all[0].Subject, all[1].Subject, all[2].Subject, all[3].Subject})
	require.Equal(t, "3", all[len(all)-1].Subject, "0 to 2 are gone")
	few, err := box.List(2)
	require.NoError(t, err)
	require.Equal(t, all[:2], few)
}

func TestManyMayPutMessagesInAtOnce(t *testing.T) {
	t.Parallel()
	box, dir := outbox(t)
	other, err := mail.NewOutbox(dir, "", nil)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			to := box
			if i%2 == 0 {
				to = other
			}
			if err := to.Send(t.Context(), hello()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all, err := box.List(100)
	require.NoError(t, err)
	require.Len(t, all, 20)
}

func TestOnlyMessagesOfTheOutboxAreRead(t *testing.T) {
	t.Parallel()
	box, dir := outbox(t)
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(dir), "secret.eml"), []byte("x"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, id.New()+".eml"), []byte("no message"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.eml"), []byte("x"), 0o600))
	all, err := box.List(10)
	require.NoError(t, err)
	require.Empty(t, all, "what is no message is passed over")
}
