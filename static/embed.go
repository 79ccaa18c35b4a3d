// Package static holds what the browser loads: styles, scripts, fonts and
// icons. "go run ./static/build" makes dist from src and the libraries of
// package.json; this package embeds the result and finds files by the names
// they had before a content hash was added.
//
// It decides nothing about caching or headers; whoever serves the files does.
// Handlers, views and app may import it.
package static

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// dist compiles when nothing was built yet: one committed file is always there.
//
//go:embed all:dist
var dist embed.FS

// Prefix is the path under which the files are served.
const Prefix = "/static/"

// ErrNotBuilt says that dist holds no manifest.
var ErrNotBuilt = errors.New(`the browser's files are not built: run "go run ./static/build"`)

// Manifest is what the build leaves beside the files.
type Manifest struct {
	// Fingerprint is the hash of all that went in; the build uses it.
	Fingerprint string `json:"fingerprint"`
	// Files maps a plain name, "app.css", to the hashed one.
	Files map[string]string `json:"files"`
	// Sprite names the file that holds the icons as one SVG element.
	Sprite string `json:"sprite"`
}

// Assets finds built files. It does not change once loaded.
type Assets struct {
	files    fs.FS
	manifest Manifest
	sprite   string
}

// Embedded gives the files that were built into the binary.
func Embedded() fs.FS {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(fmt.Sprintf("opening the embedded files: %v", err)) // "dist" is a valid name: cannot happen
	}
	return sub
}

// Load reads the manifest of built files; [ErrNotBuilt] if there is none.
func Load(files fs.FS) (*Assets, error) {
	raw, err := fs.ReadFile(files, "manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotBuilt
	}
	if err != nil {
		return nil, fmt.Errorf("reading the manifest of the browser's files: %w", err)
	}
	a := &Assets{files: files}
	if err := json.Unmarshal(raw, &a.manifest); err != nil {
		return nil, fmt.Errorf("parsing the manifest of the browser's files: %w", err)
	}
	if a.manifest.Sprite != "" {
		sprite, err := fs.ReadFile(files, a.manifest.Sprite)
		if err != nil {
			return nil, fmt.Errorf("reading the icons: %w", err)
		}
		a.sprite = string(sprite)
	}
	return a, nil
}

// URL gives the address of a file by its plain name, such as "app.css". A name
// that was not built gives an address that answers 404, which a test of the
// layout finds.
func (a *Assets) URL(name string) string {
	if hashed, ok := a.manifest.Files[name]; ok {
		return Prefix + hashed
	}
	return Prefix + "missing/" + name
}

// Sprite gives the icons as one hidden SVG element for the top of a page. It
// comes from the build, never from a person.
func (a *Assets) Sprite() string { return a.sprite }

// Files gives the built files, for serving.
func (a *Assets) Files() fs.FS { return a.files }

// Pick chooses the form of a hashed file that suits an Accept-Encoding header:
// its name in [Assets.Files] and the Content-Encoding, "" for none. ok is false
// for names outside the manifest; every name inside may be cached for ever.
func (a *Assets) Pick(name, acceptEncoding string) (file, encoding string, ok bool) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	known := false
	for _, hashed := range a.manifest.Files {
		known = known || hashed == name
	}
	if !known {
		return "", "", false
	}
	for _, form := range []struct{ token, suffix string }{{"br", ".br"}, {"gzip", ".gz"}} {
		if !accepts(acceptEncoding, form.token) {
			continue
		}
		if _, err := fs.Stat(a.files, name+form.suffix); err == nil {
			return name + form.suffix, form.token, true
		}
	}
	return name, "", true
}

// accepts reports whether an Accept-Encoding header names the token without
// refusing it by a weight of zero.
func accepts(header, token string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.TrimSpace(name) == token {
			w := strings.ReplaceAll(weight, " ", "")
			return w != "q=0" && !strings.HasPrefix(w, "q=0.000") && w != "q=0.0" && w != "q=0.00"
		}
	}
	return false
}
