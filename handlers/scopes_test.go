package handlers_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
)

// apiRoutes are the routes of the API that need a key.
func apiRoutes(s *testweb.Server) []app.Route {
	routes := slices.DeleteFunc(privateRoutes(s), func(r app.Route) bool {
		return !strings.HasPrefix(r.Path, "/api/") || r.Method == http.MethodHead
	})
	slices.SortFunc(routes, func(a, b app.Route) int { return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method) })
	return routes
}

// keyWith makes a key of an owner's with these scopes and no others, also ones
// that no form offers.
func keyWith(t *testing.T, s *testweb.Server, scopes ...auth.KeyScope) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	owner := s.Scope("acme", "olga@acme.test")
	key, secret, err := auth.MintAPIKey(owner, auth.KeyID(id.New()), "test", nil, 0, time.Now().UTC())
	require.NoError(t, err)
	key.Scopes = scopes
	require.NoError(t, s.App.Database().CreateAPIKey(ctx, owner, key))
	return secret.Reveal()
}

// TestEveryAPIRouteSaysWhichScopesItNeeds visits every route of the API with a
// key of each scope alone, of somebody whose role allows everything. A key with
// no scope we know gets nowhere: a route that lets it in lacks its Needs in
// router.go.
func TestEveryAPIRouteSaysWhichScopesItNeeds(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	scopes, nothing := auth.KeyScopes(), keyWith(t, s, "nothing")
	keys := make([]string, len(scopes))
	head := fmt.Sprintf("%-66s", "# which scope alone opens what; 403: refused, in: not refused")
	for i, scope := range scopes {
		keys[i] = keyWith(t, s, scope)
		head += " " + string(scope)
	}
	lines := []string{head}
	for _, r := range apiRoutes(s) {
		path := absent().fill(t, r)
		got := visit(t, s, s.Stranger(), r.Method, path, "X-Api-Key", nothing)
		require.Equal(t, http.StatusForbidden, got.status,
			"%s %s lets in a key without any scope: put what it needs behind key in router.go, as in app.Get(path, key, read, …)", r.Method, r.Path)
		require.Contains(t, got.body, "scopes do not cover")
		line := fmt.Sprintf("%-66s", r.Method+" "+r.Path)
		for i, scope := range scopes {
			cell := "in"
			if got := visit(t, s, s.Stranger(), r.Method, path, "X-Api-Key", keys[i]); got.status == http.StatusForbidden {
				require.Contains(t, got.body, "scopes do not cover", "%s %s with %s", r.Method, r.Path, scope)
				cell = "403"
			}
			line += fmt.Sprintf(" %-*s", len(scope), cell)
		}
		lines = append(lines, strings.TrimRight(line, " "))
	}
	got := strings.Join(lines, "\n") + "\n"
	path := filepath.Join("testdata", "scopes.txt")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "if this is meant: go test ./handlers -run WhichScopes -update, and read each line that changed")
}

func TestABrowserNeedsNoScopes(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	for _, r := range apiRoutes(s) {
		got := visit(t, s, mia, r.Method, absent().fill(t, r), "X-CSRF-Token", s.CSRF(mia))
		require.NotContains(t, got.body, "scopes", "%s %s", r.Method, r.Path)
	}
}

// TestAKeyOfBeforeReadStillRuns has a key as a node of the release before
// writes it.
func TestAKeyOfBeforeReadStillRuns(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	require.Equal(t, http.StatusOK, s.API(keyWith(t, s, "chat"), "POST", "/api/threads", map[string]any{}).Status)
	made := s.API(s.Key("acme", "mia@acme.test", "chat"), "POST", "/api/threads", map[string]any{})
	require.Equal(t, http.StatusOK, made.Status, "and so does one that is made under the old name")
}
