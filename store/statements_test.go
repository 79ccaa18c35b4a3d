package store_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testpg"
)

// statement is a constant of the package that holds SQL.
type statement struct{ file, sql string }

// TestEveryStatementPreparesUnderItsRole makes PostgreSQL read, plan and check
// the privileges of each statement; EXPLAIN runs none of them.
func TestEveryStatementPreparesUnderItsRole(t *testing.T) {
	url := testpg.Database(t, migrated())
	conns := map[string]*pgx.Conn{"heddle_app": connect(t, url, "heddle_app"), "heddle_system": connect(t, url, "heddle_system")}
	statements := statementsOf(t)
	require.Greater(t, len(statements), 60)
	for _, name := range slices.Sorted(maps.Keys(statements)) {
		s := statements[name]
		role := "heddle_app"
		// The version is asked for before organisations matter.
		if strings.HasSuffix(s.file, "_system.go") || s.file == "migrate.go" {
			role = "heddle_system"
		}
		sql, _, err := pgx.NamedArgs{}.RewriteQuery(t.Context(), nil, s.sql, nil)
		require.NoError(t, err, name)
		described, err := conns[role].Prepare(t.Context(), name, sql)
		if !assertNoError(t, err, "%s in %s as %s", name, s.file, role) {
			continue
		}
		explain := fmt.Sprintf("explain execute %q", name)
		if n := len(described.ParamOIDs); n > 0 {
			explain += "(" + strings.TrimSuffix(strings.Repeat("null, ", n), ", ") + ")"
		}
		_, err = conns[role].Exec(t.Context(), explain)
		assertNoError(t, err, "%s in %s as %s", name, s.file, role)
	}
}

// withoutOrg are the statements of heddle_app that name no organisation.
var withoutOrg = map[string]string{
	"sqlSetOrg":         "sets it",
	"sqlProbe":          "touches no table",
	"sqlSetOrgBriefly":  "sets it",
	"sqlDocumentSearch": "its function takes the organisation from the setting",
}

// TestEveryScopedStatementNamesItsOrganisation is the second wall: the first,
// row-level security, must never be the only one.
func TestEveryScopedStatementNamesItsOrganisation(t *testing.T) {
	for name, s := range statementsOf(t) {
		if strings.HasSuffix(s.file, "_system.go") || s.file == "migrate.go" || withoutOrg[name] != "" {
			continue
		}
		require.Contains(t, s.sql, "@org", "%s in %s", name, s.file)
	}
}

func assertNoError(t *testing.T, err error, format string, args ...any) bool {
	t.Helper()
	if err != nil {
		t.Errorf(format+": %v", append(args, err)...)
	}
	return err == nil
}

// startsSQL finds texts that are statements whatever they are called.
var startsSQL = regexp.MustCompile(`(?i)^\s*(select|insert\s+into|update|delete\s+from|with\s+\w+\s+as|merge\s+into)\s`)

// outsideConstants are the statements that need no organisation's rows and
// stand where they are used, by file.
var outsideConstants = map[string][]string{
	"migrate.go":        {"select pg_advisory_lock($1)", "select to_regclass($1) is not null"},
	"workers_system.go": {"select pg_advisory_lock($1, $2)"},
}

// statementsOf reads the package's source. It fails for SQL outside constants
// named sql… and for such a constant that it can't evaluate.
func statementsOf(t *testing.T) map[string]statement {
	t.Helper()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	type definition struct {
		file string
		expr ast.Expr
	}
	constants := map[string]definition{}
	var loose []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		file, err := parser.ParseFile(token.NewFileSet(), name, source, 0)
		require.NoError(t, err)
		inside := map[*ast.BasicLit]bool{}
		ast.Inspect(file, func(n ast.Node) bool {
			decl, ok := n.(*ast.GenDecl)
			if !ok || decl.Tok != token.CONST {
				return true
			}
			for _, spec := range decl.Specs {
				values := spec.(*ast.ValueSpec)
				for i, ident := range values.Names {
					if i >= len(values.Values) {
						continue
					}
					constants[ident.Name] = definition{file: name, expr: values.Values[i]}
					if strings.HasPrefix(ident.Name, "sql") {
						ast.Inspect(values.Values[i], func(n ast.Node) bool {
							if lit, ok := n.(*ast.BasicLit); ok {
								inside[lit] = true
							}
							return true
						})
					}
				}
			}
			return true
		})
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING || inside[lit] {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			require.NoError(t, err)
			if startsSQL.MatchString(text) && !slices.Contains(outsideConstants[name], text) {
				loose = append(loose, name+": "+text)
			}
			return true
		})
	}
	require.Empty(t, loose, "make them constants named sql…")

	var evaluate func(name string, expr ast.Expr) string
	evaluate = func(name string, expr ast.Expr) string {
		switch e := expr.(type) {
		case *ast.BasicLit:
			text, err := strconv.Unquote(e.Value)
			require.NoError(t, err, name)
			return text
		case *ast.ParenExpr:
			return evaluate(name, e.X)
		case *ast.BinaryExpr:
			require.Equal(t, token.ADD, e.Op, name)
			return evaluate(name, e.X) + evaluate(name, e.Y)
		case *ast.Ident:
			require.Contains(t, constants, e.Name, name)
			return evaluate(name, constants[e.Name].expr)
		default:
			require.Failf(t, "not evaluable", "%s is made of %T: use literals, constants and +", name, expr)
			return ""
		}
	}
	out := map[string]statement{}
	for name, d := range constants {
		if strings.HasPrefix(name, "sql") {
			out[name] = statement{file: d.file, sql: evaluate(name, d.expr)}
		}
	}
	return out
}
