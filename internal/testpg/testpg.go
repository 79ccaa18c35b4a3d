// Package testpg gives tests a real PostgreSQL: each test process starts one
// private cluster when its first test asks, and each test gets a fresh database
// cloned from a template that was prepared once.
//
// The role behind every URL owns its databases and may make databases and
// roles. It is no superuser and does not bypass row-level security, as in
// production.
//
// Roles belong to the cluster, not to a database: what Prepare creates must
// bear being there already, and a test must not change shared roles.
//
// HEDDLE_TEST_DATABASE_URL, the URL of such an owner on another server, takes
// the place of the private cluster. Without it the PostgreSQL programs must be
// installed: a test that cannot have its database fails, it never skips.
//
// A package that uses it ends its cluster in TestMain:
//
//	func TestMain(m *testing.M) { testpg.Main(m) }
//
// The state of the process's one cluster is kept in this package: tests have
// no composition root that could carry it. Only tests import it.
package testpg

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// limit bounds each step with the server, in slow and crowded runs too.
const limit = 2 * time.Minute

// urlVariable names an existing server to use.
const urlVariable = "HEDDLE_TEST_DATABASE_URL"

// Runner is what [testing.M] does.
type Runner interface{ Run() int }

// Template is a database that tests get copies of.
type Template struct {
	// Name tells templates of one process apart: 1 to 30 lower-case letters,
	// digits and underscores.
	Name string
	// Prepare fills the empty database at url, usually by migrating it, and
	// leaves no connection open. It runs once per process. Nil leaves it empty.
	Prepare func(ctx context.Context, url string) error
}

// shared is the process's cluster. The lock is held while it starts and stops.
var shared struct {
	sync.Mutex
	owned   bool // a Runner is there to stop it
	cluster *cluster
}

// Main runs the tests of a package, stops what they started and exits.
func Main(m Runner) { os.Exit(Wrap(m).Run()) }

// Wrap gives a runner that stops the cluster after the tests of m, for a
// package whose TestMain has more to do, such as looking for leaks:
//
//	goleak.VerifyTestMain(testpg.Wrap(m))
func Wrap(m Runner) Runner { return runner{m} }

type runner struct{ inner Runner }

func (r runner) Run() int {
	shared.Lock()
	shared.owned = true
	shared.Unlock()
	code := r.inner.Run()
	shared.Lock()
	defer shared.Unlock()
	shared.owned = false
	if shared.cluster == nil {
		return code
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := shared.cluster.close(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "testpg:", err)
		code = max(code, 1)
	}
	shared.cluster = nil
	return code
}

// Database returns the URL of a database of the test's own, a copy of the
// template, which is dropped when the test ends. Tests may run in parallel.
func Database(tb testing.TB, t Template) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	c, err := current(ctx)
	if err != nil {
		tb.Fatalf("testpg: %v", err)
	}
	name, err := c.clone(ctx, t)
	if err != nil {
		tb.Fatalf("testpg: template %q: %v", t.Name, err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := c.drop(ctx, name); err != nil {
			tb.Errorf("testpg: %v", err)
		}
	})
	return c.url(name)
}

// current starts the cluster at the first call.
func current(ctx context.Context) (*cluster, error) {
	shared.Lock()
	defer shared.Unlock()
	if !shared.owned {
		return nil, fmt.Errorf("nobody would stop the server: add func TestMain(m *testing.M) { testpg.Main(m) } to the package")
	}
	if shared.cluster == nil {
		c, err := open(ctx)
		if err != nil {
			return nil, err
		}
		shared.cluster = c
	}
	return shared.cluster, nil
}
