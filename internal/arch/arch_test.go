package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// load lists the packages of the module, tests left out: a test may import
// what it likes. Packages that do not build are listed as well (-e): saying so
// is the compiler's part.
func load(t *testing.T) (module string, pkgs []pkg) {
	t.Helper()
	run := func(args ...string) []byte {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = filepath.Join("..", "..")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		require.NoError(t, err)
		return out
	}
	module = strings.TrimSpace(string(run("list", "-m")))
	decoder := json.NewDecoder(bytes.NewReader(run("list", "-e", "-json=Dir,ImportPath,Name,GoFiles,CgoFiles,Imports", "./...")))
	for {
		var p pkg
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return module, pkgs
		}
		require.NoError(t, err)
		pkgs = append(pkgs, p)
	}
}

// external reports whether an import lies outside the standard library, whose
// first path element never holds a dot.
func external(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return strings.Contains(first, ".")
}

func TestEveryPackageKeepsToItsRoom(t *testing.T) {
	module, pkgs := load(t)
	require.NotEmpty(t, pkgs)
	for _, fault := range check(module, pkgs, external) {
		t.Error(fault)
	}
}

func TestNoPackageHasAnInitFunction(t *testing.T) {
	module, pkgs := load(t)
	for _, p := range pkgs {
		faults, err := inits(module, p)
		require.NoError(t, err)
		for _, fault := range faults {
			t.Error(fault)
		}
	}
}

func TestTheCheckerNamesEachForbiddenImport(t *testing.T) {
	const m = "example.org/m"
	for _, c := range []struct {
		from, to string
		want     string // part of the sentence; empty when allowed
	}{
		{"agents", "encoding/json", ""},
		{"agents", m + "/internal/fault", ""},
		{"agents", m + "/auth", ""},
		{"agents", "golang.org/x/sync/errgroup", ""},
		{"agents", "github.com/jackc/pgx/v5", "agents imports github.com/jackc/pgx/v5, and agents may import only"},
		{"agents", m + "/agents/run", "agents imports agents/run"},
		{"agents", m + "/internal/testpg", "agents imports internal/testpg"},
		{"agents/event", m + "/agents", "only the standard library and the leaves"},
		{"auth", m + "/agents", "auth imports agents"},
		{"auth/oauth", "golang.org/x/oauth2", ""},
		{"auth", "golang.org/x/oauth2", "auth imports golang.org/x/oauth2"},
		{"agents/run", m + "/agents/graph", ""},
		{"agents/graph", m + "/agents/model", ""},
		{"agents/graph", m + "/agents/run", "agents/graph imports agents/run"},
		{"agents/model/openai", m + "/agents/graph", "agents/model/openai imports agents/graph"},
		{"agents/model/openai", "github.com/openai/openai-go/v3", ""},
		{"agents/model/script", "github.com/openai/openai-go/v3", "agents/model/script imports github.com/openai"},
		{"app", m + "/agents/model/openai/openaitest", "it is test support"},
		{"agents/run", m + "/agents/prebuilt", "agents/run imports agents/prebuilt"},
		{"agents/run", m + "/store", "agents/run imports store"},
		{"agents/tool", "github.com/google/jsonschema-go/jsonschema", ""},
		{"app", "github.com/google/jsonschema-go/jsonschema", "which only agents/tool/..., agents/graph, agents/event/eventtest may import"},
		{"realtime/socket", m + "/agents/event", "realtime/socket imports agents/event"},
		{"realtime", "github.com/redis/go-redis/v9", ""},
		{"realtime", m + "/auth", "realtime imports auth"},
		{"store", "github.com/jackc/pgx/v5/pgxpool", ""},
		{"store", m + "/agents/run", "store imports agents/run"},
		{"views/chat", m + "/views/ui", ""},
		{"views/chat", "github.com/gofiber/fiber/v2", "views/chat imports github.com/gofiber/fiber/v2"},
		{"views/chat", m + "/agents/event", "views/chat imports agents/event"},
		{"handlers/page", m + "/views/chat", ""},
		{"handlers/page", m + "/agents/run", ""},
		{"handlers/page", m + "/store", "handlers/page imports store"},
		{"handlers/page", "github.com/redis/go-redis/v9", "handlers/page imports github.com/redis"},
		{"handlers", m + "/config", "handlers imports config"},
		{"app", m + "/config", ""},
		{"cmd/web", m + "/config", ""},
		{"internal/testpg", m + "/config", "which only app/..., cmd/..., internal/testweb/..., internal/chaos/... may import"},
		{"app", m + "/internal/testpg", "it is test support"},
		{"app", m + "/cmd/web", "commands are entry points"},
		{"internal/id", "github.com/google/uuid", ""},
		{"store", "github.com/google/uuid", "store imports github.com/google/uuid"},
		{"cmd/web", "github.com/google/uuid", "which only internal/id may import"},
		{"storeroom", "fmt", "give it a room"},
	} {
		name := filepath.Base(c.from)
		faults := check(m, []pkg{{ImportPath: m + "/" + c.from, Name: name, Imports: []string{c.to}}}, external)
		if c.want == "" {
			require.Empty(t, faults, "%s -> %s", c.from, c.to)
			continue
		}
		require.Len(t, faults, 1, "%s -> %s", c.from, c.to)
		require.Contains(t, faults[0], c.want)
	}
}

func TestTheCheckerSeesEmptyNamesAndInitFunctions(t *testing.T) {
	faults := check("m", []pkg{{ImportPath: "m/store", Name: "utils"}, {ImportPath: "m/views/common", Name: "v"}}, external)
	require.Len(t, faults, 2)
	require.Contains(t, faults[0], `store: a package must not be called "utils"`)

	dir := t.TempDir()
	source := "package x\n\ntype t struct{}\n\nfunc (t) init() {}\n\nfunc init() {}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x.go"), []byte(source), 0o600))
	faults, err := inits("m", pkg{Dir: dir, ImportPath: "m/x", GoFiles: []string{"x.go"}})
	require.NoError(t, err)
	require.Equal(t, []string{"x: x.go:7 declares init(): build it in app, where one can see it"}, faults)
}
