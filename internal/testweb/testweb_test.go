package testweb_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/testweb"
)

func TestMain(m *testing.M) { testweb.Main(m) }

func TestAPersonAndAProgramReachTheProduct(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	thread := s.NewThread(mia, "what is 17*23")
	k := s.Dial(mia)
	k.Join("thread:"+thread, map[string]any{"after": 0})
	got := k.Envelopes("thread:"+thread, testweb.RunEnds)
	require.Contains(t, testweb.Text(got), "391")
	page := s.Page(mia, "/threads/"+thread)
	require.Contains(t, page.Text("#messages"), "391")
	require.False(t, page.Busy())

	key := s.Key("acme", "mia@acme.test", auth.ScopeRun)
	require.Equal(t, http.StatusOK, s.API(key, "GET", "/api/threads/"+thread, nil).Status)
	require.Equal(t, http.StatusUnauthorized, s.API("wrong", "GET", "/api/threads/"+thread, nil).Status)
	p := s.DialKey(key)
	p.Join("thread:"+thread, map[string]any{"after": 0})
	require.Equal(t, got, p.Envelopes("thread:"+thread, testweb.RunEnds))
	s.Stop()
}
