package config

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// keyBytes is the least length of the secret key: 256 bits, what AES-256 and
// HMAC-SHA-256 ask for.
const keyBytes = 32

// DecodeKey returns the bytes of HEDDLE_SECRET_KEY: at least 32, from hex or
// any of the base64 alphabets, padded or not. Text that could be both is hex.
// Its errors never contain the key.
func DecodeKey(secret Secret) ([]byte, error) {
	text := strings.TrimSpace(secret.Reveal())
	key, err := hex.DecodeString(text)
	if err != nil {
		text = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(text), "=")
		if key, err = base64.RawStdEncoding.DecodeString(text); err != nil {
			return nil, errors.New("is neither hex nor base64; make one with: openssl rand -base64 32")
		}
	}
	if len(key) < keyBytes {
		return nil, fmt.Errorf("holds %d bytes, and at least %d are needed; make one with: openssl rand -base64 32", len(key), keyBytes)
	}
	if distinct(key) < 8 {
		return nil, errors.New("is not random; make one with: openssl rand -base64 32")
	}
	return key, nil
}

// distinct counts the different bytes of key. Of 32 random ones fewer than 8
// never happens; of "aaaa…" and the like it always does.
func distinct(key []byte) int {
	seen := map[byte]bool{}
	for _, b := range key {
		seen[b] = true
	}
	return len(seen)
}

// devSecretFile lies in the data directory, readable by its owner alone.
const devSecretFile = "secret-key"

// DevSecret returns the secret key of a development installation, kept in dir;
// the first call makes dir and the key. Several processes may call it at once:
// all get the same key. Outside development it must not be called.
func DevSecret(dir string) (Secret, error) {
	path := filepath.Join(dir, devSecretFile)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Secret{}, fmt.Errorf("making the data directory: %w", err)
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := writeDevSecret(dir, path); err != nil {
			return Secret{}, fmt.Errorf("keeping the development secret: %w", err)
		}
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return Secret{}, fmt.Errorf("guarding the development secret: %w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Secret{}, fmt.Errorf("reading the development secret: %w", err)
	}
	secret := NewSecret(strings.TrimSpace(string(text)))
	if _, err := DecodeKey(secret); err != nil {
		return Secret{}, fmt.Errorf("the development secret in %s %w, or remove the file", path, err)
	}
	return secret, nil
}

// writeDevSecret links a complete file into place, so that nobody ever reads
// half a key; who comes second keeps the key of the first.
func writeDevSecret(dir, path string) (err error) {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // crypto/rand.Read never fails
	file, err := os.CreateTemp(dir, devSecretFile+"-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(file.Name())) }()
	_, err = file.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err = os.Link(file.Name(), path); errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}
