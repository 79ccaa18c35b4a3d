package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/andybalholm/brotli"

	"github.com/heddle/heddle/static"
)

// write replaces dist with the given files. The manifest comes last: a build
// that broke off leaves none, and the next one starts over.
func write(dir, print string, files []file, sprite []byte) error {
	dist := filepath.Join(dir, "dist")
	if err := empty(dist); err != nil {
		return err
	}
	m := static.Manifest{Fingerprint: print, Files: map[string]string{}, Sprite: "icons.svg"}
	if err := put(dist, m.Sprite, sprite); err != nil {
		return err
	}
	for _, f := range files {
		m.Files[f.plain] = f.hashed
		if err := put(dist, f.hashed, f.body); err != nil {
			return err
		}
		if strings.HasSuffix(f.hashed, ".woff2") {
			continue // compressed already
		}
		if err := compress(dist, f); err != nil {
			return err
		}
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("rendering the manifest: %w", err)
	}
	return put(dist, "manifest.json", append(raw, '\n'))
}

// empty removes what an earlier build left.
func empty(dist string) error {
	if err := os.MkdirAll(dist, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", dist, err)
	}
	entries, err := os.ReadDir(dist)
	if err != nil {
		return fmt.Errorf("listing %s: %w", dist, err)
	}
	for _, e := range entries {
		if e.Name() == ".keep" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dist, e.Name())); err != nil {
			return fmt.Errorf("emptying %s: %w", dist, err)
		}
	}
	return nil
}

func put(dist, name string, body []byte) error {
	if err := os.WriteFile(filepath.Join(dist, name), body, 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

func compress(dist string, f file) error {
	var gz, br bytes.Buffer
	zw, err := gzip.NewWriterLevel(&gz, gzip.BestCompression)
	if err != nil {
		return fmt.Errorf("compressing %s: %w", f.plain, err)
	}
	_, _ = zw.Write(f.body) // memory; Close reports what went wrong
	if err := zw.Close(); err != nil {
		return fmt.Errorf("compressing %s: %w", f.plain, err)
	}
	bw := brotli.NewWriterLevel(&br, brotli.BestCompression)
	_, _ = bw.Write(f.body)
	if err := bw.Close(); err != nil {
		return fmt.Errorf("compressing %s: %w", f.plain, err)
	}
	if err := put(dist, f.hashed+".gz", gz.Bytes()); err != nil {
		return err
	}
	return put(dist, f.hashed+".br", br.Bytes())
}

// hashName puts a hash of the content into a file's name.
func hashName(name string, body []byte) string {
	sum := sha256.Sum256(body)
	ext := filepath.Ext(name)
	return strings.TrimSuffix(name, ext) + "-" + base32.StdEncoding.EncodeToString(sum[:5]) + ext
}
