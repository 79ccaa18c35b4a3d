package contract

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/testweb"
)

func TestMain(m *testing.M) { testweb.Main(m) }

// lines are the releases of the SDK: what a plain install gets, and what the
// clients' version ranges reach.
var lines = []string{"2.0.0", "1.15.0"}

// limit bounds one file of calls; each call has a limit of its own in
// js/session.mjs.
const limit = 5 * time.Minute

func TestTheOfficialSDKWorksUnchanged(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("js/*.test.mjs")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, line := range lines {
		t.Run("langgraph-sdk "+line, func(t *testing.T) {
			t.Parallel()
			install(t, "sdk-"+line)
			s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{nested(t)}})
			for _, file := range files {
				t.Run(strings.TrimSuffix(filepath.Base(file), ".test.mjs"), func(t *testing.T) {
					report(t, filepath.Base(file), play(t, s, "sdk-"+line, file))
				})
			}
		})
	}
	for file := range waiting() {
		require.Contains(t, files, "js/"+file, "waiting_test.go lists a file that is not there")
	}
}

// nested is a graph whose node is a graph that asks.
func nested(t *testing.T) *graph.Graph {
	t.Helper()
	say := func(_ context.Context, task *graph.Task) (graph.Command, error) {
		return graph.Command{Update: graph.AddMessages(agents.Message{ID: agents.MessageID(task.NewID()), Role: agents.RoleAssistant, Text: "inside",
			CreatedAt: task.Clock.Now()})}, nil
	}
	ask := func(_ context.Context, task *graph.Task) (graph.Command, error) {
		_, err := graph.Ask[string](task, "go on?")
		return graph.Command{}, err
	}
	child, err := graph.New("child").Node("say", say).Node("ask", ask).Edge(graph.Start, "say").Edge("say", "ask").Edge("ask", graph.End).Compile()
	require.NoError(t, err)
	g, err := graph.New("nested").Subgraph("sub", child).Edge(graph.Start, "sub").Edge("sub", graph.End).Compile()
	require.NoError(t, err)
	return g
}

// report makes a subtest of each result. What waits for something must not pass.
func report(t *testing.T, file string, results []result) {
	t.Helper()
	missing, seen := waiting()[file], map[string]bool{}
	for _, r := range results {
		seen[r.Name] = true
		if w, named := missing.tests[r.Name]; named {
			t.Run(r.Name, func(t *testing.T) {
				require.False(t, r.Pass, "this passes now: take it off waiting_test.go, where it waits for %s", w)
				t.Log(r.Detail)
			})
			continue
		}
		if missing.all != "" {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			if !r.Pass {
				t.Error(r.Detail)
			}
		})
	}
	for name := range missing.tests {
		require.True(t, seen[name], "waiting_test.go lists %q, which is no test of %s", name, file)
	}
	if all := missing.all; all != "" {
		var failed []string
		for _, r := range results {
			if !r.Pass {
				failed = append(failed, r.Name+": "+r.Detail)
			}
		}
		require.NotEmpty(t, failed, "every test of %s passes now: take it off waiting_test.go, where it waits for %s", file, all)
		t.Logf("%s waits for %s; %d of %d tests fail: %s", file, all, len(failed), len(results), strings.Join(failed, "\n"))
	}
}

// result is what Node's runner says of one test.
type result struct {
	Name   string `json:"name"`
	Pass   bool   `json:"pass"`
	Detail string `json:"detail"`
}

// play runs a file of calls against the server.
func play(t *testing.T, s *testweb.Server, sdk, file string) []result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	node, err := exec.LookPath("node")
	require.NoError(t, err, "Node is needed for this test: make setup-test installs it")
	index, err := filepath.Abs(filepath.Join(sdk, "node_modules/@langchain/langgraph-sdk/dist/index.js"))
	require.NoError(t, err)
	reporter, err := filepath.Abs("js/lines.mjs")
	require.NoError(t, err)
	cmd := exec.CommandContext(ctx, node, "--test", "--test-reporter="+reporter, "--test-reporter-destination=stdout", file)
	cmd.Env = append(os.Environ(), "HEDDLE_SDK="+index, "HEDDLE_SDK_LINE="+strings.TrimPrefix(sdk, "sdk-"), "HEDDLE_API="+s.URL()+"/api",
		"HEDDLE_KEY="+s.Key("acme", "mia@acme.test"), "HEDDLE_KEY_READ="+s.Key("acme", "mia@acme.test", auth.ScopeRead),
		"HEDDLE_KEY_ADMIN="+s.Key("acme", "ada@acme.test", auth.KeyScopes()...), "HEDDLE_KEY_FOREIGN="+s.Key("globex", "gia@globex.test"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("running %s: %v", file, err)
	}
	var results []result
	scanner := bufio.NewScanner(bytes.NewReader(out))
	scanner.Buffer(nil, 1<<24)
	for scanner.Scan() {
		var r result
		if json.Unmarshal(scanner.Bytes(), &r) == nil && r.Name != "" {
			results = append(results, r)
		}
	}
	require.NoError(t, scanner.Err())
	require.NotEmpty(t, results, "%s said nothing: %s %s", file, out, stderr.String())
	return results
}

// marker remembers, inside node_modules, which lock file it was installed from.
const marker = "node_modules/.heddle-lock"

// install runs npm ci in a folder when its node_modules does not belong to its
// lock file: a second run asks no network. Tests that want the same folder at
// the same time wait for one of them.
func install(t *testing.T, dir string) {
	t.Helper()
	file, err := os.Open(filepath.Join(dir, "package-lock.json"))
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, syscall.Flock(int(file.Fd()), syscall.LOCK_EX), "waiting for who else installs")
	lock, err := io.ReadAll(file)
	require.NoError(t, err)
	require.NotContains(t, string(lock), `"resolved"`, "the lock file names no registry")
	sum := sha256.Sum256(lock)
	want := hex.EncodeToString(sum[:])
	if have, err := os.ReadFile(filepath.Join(dir, marker)); err == nil && string(have) == want {
		return
	}
	npm, err := exec.LookPath("npm")
	require.NoError(t, err, "npm is needed to fetch the SDK: make setup-test installs it")
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "ci", "--omit=peer", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "npm ci: %s", out)
	require.NoError(t, os.WriteFile(filepath.Join(dir, marker), []byte(want), 0o644))
}
