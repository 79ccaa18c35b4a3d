package main

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testpg"
	"github.com/heddle/heddle/internal/testredis"
	"github.com/heddle/heddle/internal/testweb"
)

func TestProductionNamesAllThatIsMissingAtOnce(t *testing.T) {
	t.Parallel()
	p := start(t, []string{"HEDDLE_ENV=production", "HEDDLE_LEASE=1s", "HEDDLE_LEASE_RENEW=1s", "HEDDLE_TYPO=1"}, "serve")
	require.Equal(t, 1, p.code())
	for _, name := range []string{"HEDDLE_BASE_URL", "HEDDLE_SECRET_KEY", "DATABASE_URL", "REDIS_URL", "HEDDLE_OIDC_ISSUER", "HEDDLE_LEASE_RENEW", "HEDDLE_TYPO"} {
		require.Contains(t, p.err.String(), name)
	}
	require.Empty(t, p.out.String())
}

func TestReadinessSaysThatMigrationsAreBehind(t *testing.T) {
	t.Parallel()
	i := install(t)
	key := sha256.Sum256([]byte(t.Name()))
	i.env = append(i.env, "HEDDLE_ENV=staging", "HEDDLE_BASE_URL=https://heddle.test",
		"HEDDLE_SECRET_KEY="+hex.EncodeToString(key[:]), "HEDDLE_GITHUB_CLIENT_ID=x", "HEDDLE_GITHUB_CLIENT_SECRET=x",
		"HEDDLE_METRICS_ADDR=127.0.0.1:0",
		"DATABASE_URL="+testpg.Database(t, testpg.Template{Name: "empty"}), "REDIS_URL="+testredis.Server(t).URL())
	server := start(t, i.env, "serve")
	site := testweb.At(t, i.url)
	site.WaitUp() // the process itself is fine
	a := site.Get(nil, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, a.Status)
	require.Contains(t, a.Body, "run heddle migrate")
	code, _, stderr := i.run(t, "migrate")
	require.Zero(t, code, stderr)
	site.WaitReady()
	require.Equal(t, http.StatusNotFound, site.Get(nil, "/dev/idp/.well-known/openid-configuration").Status)
	require.Equal(t, http.StatusNotFound, site.Get(nil, "/auth/dev").Status, "no demo sign-in outside development")
	select {
	case <-server.done:
		t.Fatal("the server ended")
	default:
	}
}
