package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// file is one built file.
type file struct {
	plain  string // the name templates use
	hashed string
	body   []byte
}

// bundle joins styles and scripts and gathers the fonts they name.
func bundle(dir string) ([]file, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", dir, err)
	}
	result := api.Build(api.BuildOptions{
		AbsWorkingDir: abs,
		EntryPoints:   []string{"src/css/app.css", "src/js/app.js"},
		Outdir:        "dist",
		EntryNames:    "[name]-[hash]",
		AssetNames:    "[name]-[hash]",
		Bundle:        true,
		Format:        api.FormatESModule,
		Target:        api.ES2022,
		Loader:        map[string]api.Loader{".woff2": api.LoaderFile, ".svg": api.LoaderFile},
		Metafile:      true,
		LegalComments: api.LegalCommentsEndOfFile,

		MinifyWhitespace: true, MinifyIdentifiers: true, MinifySyntax: true,
	})
	if len(result.Errors) > 0 {
		return nil, errors.New(strings.Join(api.FormatMessages(result.Errors, api.FormatMessagesOptions{Kind: api.ErrorMessage}), "\n"))
	}
	plain, err := plainNames(result.Metafile)
	if err != nil {
		return nil, err
	}
	var files []file
	for _, out := range result.OutputFiles {
		hashed := filepath.Base(out.Path)
		files = append(files, file{plain: plain[hashed], hashed: hashed, body: out.Contents})
	}
	for _, name := range []string{"mark.svg"} {
		body, err := os.ReadFile(filepath.Join(dir, "src", name))
		if err != nil {
			return nil, fmt.Errorf("reading a picture: %w", err)
		}
		files = append(files, file{plain: name, hashed: hashName(name, body), body: body})
	}
	return files, nil
}

// plainNames maps hashed names to the names of the sources, by esbuild's own
// account of what it made.
func plainNames(metafile string) (map[string]string, error) {
	var meta struct {
		Outputs map[string]struct {
			EntryPoint string              `json:"entryPoint"`
			Inputs     map[string]struct{} `json:"inputs"`
		} `json:"outputs"`
	}
	if err := json.Unmarshal([]byte(metafile), &meta); err != nil {
		return nil, fmt.Errorf("parsing the bundler's account: %w", err)
	}
	names := map[string]string{}
	for path, out := range meta.Outputs {
		source := out.EntryPoint
		if source == "" {
			for input := range out.Inputs {
				source = input
			}
		}
		names[filepath.Base(path)] = filepath.Base(source)
	}
	return names, nil
}
