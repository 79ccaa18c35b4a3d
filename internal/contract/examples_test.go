package contract

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/testweb"
)

// exampleLimit bounds one block of the page.
const exampleLimit = time.Minute

// task is one task of docs/api/examples.md, its blocks by language.
type task struct {
	title  string
	blocks map[string]string
}

// examples reads the page: first what every block begins with, then the tasks.
func examples(t *testing.T) (before task, tasks []task) {
	t.Helper()
	raw, err := os.ReadFile("../../docs/api/examples.md")
	require.NoError(t, err)
	fence := regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")
	for i, section := range strings.Split(string(raw), "\n## ") {
		title, _, _ := strings.Cut(section, "\n")
		one := task{title: title, blocks: map[string]string{}}
		for _, m := range fence.FindAllStringSubmatch(section, -1) {
			one.blocks[m[1]] = m[2]
		}
		require.Len(t, one.blocks, 3, "%s: one block each of bash, js and python", title)
		if i == 0 {
			before = one
		} else {
			tasks = append(tasks, one)
		}
	}
	require.Len(t, tasks, 10)
	return before, tasks
}

var (
	prints  = regexp.MustCompile(`(?m)^(?:#|//) prints (.+)$`)
	request = regexp.MustCompile(`(?m)^# (GET|POST|PUT|PATCH|DELETE) (/\S*)(?: (.+))?$`)
	place   = regexp.MustCompile(`\{([a-z]+_id)\}`)
)

// TestTheExamplesOfTheDocumentationWorkAsPrinted executes every block of the
// page, each language against a server of its own.
func TestTheExamplesOfTheDocumentationWorkAsPrinted(t *testing.T) {
	t.Parallel()
	before, tasks := examples(t)
	waits := waitingExamples()
	for language, execute := range map[string]func(t *testing.T, e example) string{"bash": runShell, "js": runNode, "python": runPython} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			s := testweb.Start(t, testweb.Options{})
			key := s.Key("acme", "ada@acme.test", auth.KeyScopes()...)
			for _, task := range tasks {
				t.Run(task.title, func(t *testing.T) {
					block := task.blocks[language]
					want := prints.FindStringSubmatch(block)
					require.NotNil(t, want, "the block says what it prints")
					out := execute(t, example{s: s, key: key, before: before.blocks[language], block: block})
					missing, waiting := waits[task.title]
					if !waiting {
						missing, waiting = waits[language+": "+task.title]
					}
					if waiting {
						require.NotContains(t, out, want[1], "this works now: take it off waiting_test.go, where it waits for %s", missing)
						return
					}
					require.Contains(t, out, want[1])
				})
			}
		})
	}
}

// example is a block and what it runs on.
type example struct {
	s                  *testweb.Server
	key, before, block string
}

// run starts a program in dir and gives what it said, whether it failed or not.
func (e example) run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), exampleLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HEDDLE_URL="+e.s.URL()+"/api", "HEDDLE_KEY="+e.key)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		// What a block prints before it fails is no success.
		return "failed: " + prints.ReplaceAllString(err.Error(), "")
	}
	return out.String()
}

func runShell(t *testing.T, e example) string {
	t.Helper()
	_, err := exec.LookPath("curl")
	require.NoError(t, err, "curl is needed for this test")
	return e.run(t, t.TempDir(), "bash", "-euo", "pipefail", "-c", e.before+e.block)
}

// runNode runs a block where the SDK of today's plain install is at hand.
func runNode(t *testing.T, e example) string {
	t.Helper()
	install(t, "sdk-2.0.0")
	modules, err := filepath.Abs("sdk-2.0.0/node_modules")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Symlink(modules, filepath.Join(dir, "node_modules")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "example.mjs"), []byte(e.before+e.block), 0o644))
	return e.run(t, dir, "node", "example.mjs")
}

// runPython runs a block if Python has the SDK, else the requests that the block
// names.
func runPython(t *testing.T, e example) string {
	t.Helper()
	if e.run(t, t.TempDir(), "python3", "-c", "import langgraph_sdk; print('there')") == "there\n" {
		return e.run(t, t.TempDir(), "python3", "-c", e.before+e.block)
	}
	requests := request.FindAllStringSubmatch(e.block, -1)
	require.NotEmpty(t, requests, "the block's comments name its requests")
	known, out := map[string]string{}, ""
	fill := func(text string) string {
		return place.ReplaceAllStringFunc(text, func(name string) string { return known[strings.Trim(name, "{}")] })
	}
	for _, r := range requests {
		var body []byte
		if r[3] != "" {
			body = []byte(fill(r[3]))
			require.True(t, json.Valid(body), "%s", body)
		}
		a := e.s.Do(nil, r[1], "/api"+fill(r[2]), body, "X-Api-Key", e.key, "Content-Type", "application/json")
		if a.Status != http.StatusOK && a.Status != http.StatusNoContent {
			return "failed: " + a.Body
		}
		for _, m := range regexp.MustCompile(`"([a-z]+_id)":"([^"]+)"`).FindAllStringSubmatch(a.Body, -1) {
			known[m[1]] = m[2]
		}
		out = a.Body
	}
	return out
}
