package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/heddle/heddle/static"
)

// fingerprint hashes everything a build depends on: sources, the lock file and
// the build's own code.
func fingerprint(dir string) (string, error) {
	sum := sha256.New()
	paths := []string{"package-lock.json"}
	for _, tree := range []string{"src", "build"} {
		err := filepath.WalkDir(filepath.Join(dir, tree), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			paths = append(paths, rel)
			return err
		})
		if err != nil {
			return "", fmt.Errorf("listing %s: %w", tree, err)
		}
	}
	slices.Sort(paths)
	for _, path := range paths {
		raw, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return "", fmt.Errorf("reading a source: %w", err)
		}
		fmt.Fprintf(sum, "%s %d\n", filepath.ToSlash(path), len(raw))
		sum.Write(raw)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// fresh reports whether dist was made from sources with this fingerprint and
// is whole.
func fresh(dist, print string) bool {
	raw, err := os.ReadFile(filepath.Join(dist, "manifest.json"))
	if err != nil {
		return false
	}
	var m static.Manifest
	if json.Unmarshal(raw, &m) != nil || m.Fingerprint != print {
		return false
	}
	for _, name := range m.Files {
		if _, err := os.Stat(filepath.Join(dist, name)); err != nil {
			return false
		}
	}
	_, err = os.Stat(filepath.Join(dist, m.Sprite))
	return err == nil
}
