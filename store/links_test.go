package store_test

import (
	"context"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/store"
)

// mute carries connections to a PostgreSQL until it is told to say nothing more;
// what is opened later passes again.
type mute struct {
	url   string
	after atomic.Int64 // connections before this one are dead
	count atomic.Int64
	ended atomic.Int64 // connections that the client has closed
	next  atomic.Bool  // the connection that speaks next is dead
}

func startMute(t *testing.T, target string) *mute {
	t.Helper()
	u, err := url.Parse(target)
	require.NoError(t, err)
	socket := filepath.Join(u.Query().Get("host"), ".s.PGSQL."+u.Query().Get("port"))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	m := &mute{url: "postgres://" + u.User.Username() + "@" + listener.Addr().String() + u.Path + "?sslmode=disable"}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			a, err := listener.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("unix", socket)
			if err != nil {
				_ = a.Close()
				continue
			}
			n := m.count.Add(1)
			dead := &atomic.Bool{}
			mu.Lock()
			open = append(open, a, b)
			mu.Unlock()
			carry := func(from, to net.Conn) {
				defer to.Close()
				if from == a {
					defer m.ended.Add(1)
				}
				buf := make([]byte, 32<<10)
				for {
					got, err := from.Read(buf)
					if from == a && err == nil && m.next.CompareAndSwap(true, false) {
						dead.Store(true)
					}
					if (dead.Load() || n <= m.after.Load()) && err == nil {
						continue // taken, and never passed on
					}
					if err != nil {
						return
					}
					if _, err := to.Write(buf[:got]); err != nil {
						return
					}
				}
			}
			wg.Go(func() { carry(a, b) })
			wg.Go(func() { carry(b, a) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return m
}

// silence lets every connection that is open now say nothing more.
func (m *mute) silence() { m.after.Store(m.count.Load()) }

func TestAStatementDoesNotWaitForeverForAServerThatIsSilent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := startMute(t, b.url)
	db, err := store.Open(t.Context(), store.Options{URL: m.url, MaxConns: 2, MinConns: 1, StatementTimeout: 500 * time.Millisecond})
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Assistants(t.Context(), b.mia)
	require.NoError(t, err)
	m.silence()
	// Whatever was open is dead and says so to nobody; every statement ends all the
	// same, and soon one has a new connection.
	began := time.Now()
	require.Eventually(t, func() bool {
		_, err := db.Assistants(t.Context(), b.mia)
		return err == nil
	}, 30*time.Second, time.Millisecond)
	require.Less(t, time.Since(began), 20*time.Second)
}

func TestClosingDoesNotWaitForAServerThatIsSilent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := startMute(t, b.url)
	db, err := store.Open(t.Context(), store.Options{URL: m.url, MaxConns: 2, MinConns: 1, StatementTimeout: time.Hour})
	require.NoError(t, err)
	_, err = db.Assistants(t.Context(), b.mia)
	require.NoError(t, err)
	m.silence()
	failed := make(chan error)
	go func() {
		_, err := db.Assistants(t.Context(), b.mia)
		failed <- err
	}()
	closed := make(chan struct{})
	require.Eventually(t, func() bool { return m.count.Load() > 0 }, time.Second, time.Millisecond)
	go func() { defer close(closed); db.Close() }()
	select {
	case <-closed:
	case <-time.After(30 * time.Second):
		require.Fail(t, "closing waits for ever")
	}
	require.Error(t, <-failed)
}

func TestClosingLeavesNoConnectionThatTheDriverWaitsFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := startMute(t, b.url)
	db, err := store.Open(t.Context(), store.Options{URL: m.url, MaxConns: 2, MinConns: 1})
	require.NoError(t, err)
	presence, err := db.Arrive(t.Context(), "n1")
	require.NoError(t, err)
	m.next.Store(true)
	// The driver says goodbye to a connection whose statement was cut short, in the
	// background, and waits for the answer.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.Error(t, presence.Alive(ctx))
	db.Close()
	require.Eventually(t, func() bool { return m.ended.Load() == m.count.Load() }, 5*time.Second, time.Millisecond)
}
