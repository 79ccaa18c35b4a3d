package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// pkg is what the rules look at: one package without its tests.
type pkg struct {
	Dir        string
	ImportPath string
	Name       string
	GoFiles    []string
	CgoFiles   []string
	Imports    []string
}

// check holds packages against the tables and returns one sentence for each
// thing that is not as it should be. Import paths of our own start with module.
func check(module string, pkgs []pkg, external func(importPath string) bool) []string {
	var faults []string
	for _, p := range pkgs {
		from := ours(module, p.ImportPath)
		if slices.Contains(banned, p.Name) || slices.Contains(banned, path.Base(from)) {
			faults = append(faults, fmt.Sprintf("%s: a package must not be called %q: name it after the noun it holds", from, p.Name))
		}
		r, ok := roomOf(from)
		if !ok {
			faults = append(faults, fmt.Sprintf("%s: no rule says what this package may import: give it a room in internal/arch/rules_test.go", from))
			continue
		}
		for _, imported := range p.Imports {
			if !external(imported) && !strings.HasPrefix(imported, module+"/") {
				continue
			}
			to := ours(module, imported)
			if !fitsAny(to, everywhere) && !fitsAny(to, r.may) {
				faults = append(faults, fmt.Sprintf("%s imports %s, and %s may import %s", from, to, r.packages, inWords(r.may)))
				continue
			}
			for _, k := range keepers {
				if fits(to, k.imported) && !fitsAny(from, k.only) {
					faults = append(faults, fmt.Sprintf("%s imports %s, which only %s may import: %s", from, to, strings.Join(k.only, ", "), k.why))
				}
			}
		}
	}
	return faults
}

// roomOf finds the room with the longest pattern that fits.
func roomOf(name string) (room, bool) {
	var best room
	for _, r := range rooms {
		if fits(name, r.packages) && len(r.packages) > len(best.packages) {
			best = r
		}
	}
	return best, best.packages != ""
}

func fitsAny(name string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return fits(name, p) })
}

func fits(name, pattern string) bool {
	if pattern == "*" {
		return true
	}
	above, below := strings.CutSuffix(pattern, "/...")
	return name == above || below && strings.HasPrefix(name, above+"/")
}

func ours(module, importPath string) string { return strings.TrimPrefix(importPath, module+"/") }

func inWords(may []string) string {
	if len(may) == 0 {
		return "only the standard library and the leaves in internal"
	}
	return "only " + strings.Join(may, ", ") + " besides the standard library and the leaves in internal"
}

// inits returns a sentence for each init function in the files of p.
func inits(module string, p pkg) ([]string, error) {
	var faults []string
	for _, name := range append(slices.Clone(p.GoFiles), p.CgoFiles...) {
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				faults = append(faults, fmt.Sprintf("%s: %s:%d declares init(): build it in app, where one can see it",
					ours(module, p.ImportPath), name, files.Position(f.Pos()).Line))
			}
		}
	}
	return faults, nil
}
