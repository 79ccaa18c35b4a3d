package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestASecretPrintsAsStarsEverywhere(t *testing.T) {
	secret := NewSecret("hunter2")
	type hidden struct{ key Secret }
	type shown struct{ Key Secret }

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		fmt.Fprintf(&out, verb+"\n", secret)
		fmt.Fprintf(&out, verb+"\n", &secret)
		fmt.Fprintf(&out, verb+"\n", hidden{secret})
		fmt.Fprintf(&out, verb+"\n", shown{secret})
		fmt.Fprintf(&out, verb+"\n", []any{secret, map[string]Secret{"k": secret}})
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "a", secret, "b", hidden{secret}, "c", shown{secret})
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "a", secret, "b", hidden{secret}, "c", shown{secret})
	require.NoError(t, json.NewEncoder(&out).Encode(map[Secret]any{secret: shown{secret}}))
	fmt.Fprintln(&out, fmt.Errorf("wrapping %v", secret))

	require.NotContains(t, out.String(), "hunter2")
	require.NotContains(t, out.String(), fmt.Sprintf("%x", "hunter2"))
	require.Contains(t, out.String(), stars)
	require.Equal(t, "hunter2", secret.Reveal())
	require.Equal(t, "", Secret{}.String())
	require.Equal(t, "", Secret{}.Reveal())
}

func TestTheWholeConfigPrintsNoSecret(t *testing.T) {
	cfg, problems := load(t, production(), "")
	require.Empty(t, problems)
	encoded, err := json.Marshal(cfg)
	require.NoError(t, err)
	for _, text := range []string{fmt.Sprintf("%+v", cfg), fmt.Sprintf("%#v", *cfg), string(encoded)} {
		require.NotContains(t, text, "hunter")
		require.NotContains(t, text, goodKey)
	}
}

func TestAKeyNeedsThirtyTwoRandomBytes(t *testing.T) {
	for text, good := range map[string]bool{
		goodKey: true,
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=": true,
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8":  true,
		"-_ECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8":  true,
		goodKey[:62]: false,
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==":                     false,
		"please change me, this is certainly not a key at all":             false,
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": false,
		"": false,
	} {
		key, err := DecodeKey(NewSecret(text))
		require.Equal(t, good, err == nil, "%q: %v", text, err)
		if good {
			require.Len(t, key, 32)
		}
	}
}

func TestTheDevelopmentSecretIsMadeOnceForAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "var")
	keys := make([]string, 8)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			secret, err := DevSecret(dir)
			if err == nil {
				keys[i] = secret.Reveal()
			}
		})
	}
	all.Wait()
	for _, key := range keys {
		require.Equal(t, keys[0], key)
	}
	_, err := DecodeKey(NewSecret(keys[0]))
	require.NoError(t, err)

	path := filepath.Join(dir, "secret-key")
	require.NoError(t, os.Chmod(path, 0o644))
	again, err := DevSecret(dir)
	require.NoError(t, err)
	require.Equal(t, keys[0], again.Reveal())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no half-written file stays behind")

	require.NoError(t, os.WriteFile(path, []byte("broken"), 0o600))
	_, err = DevSecret(dir)
	require.ErrorContains(t, err, "remove the file")
	require.NotContains(t, err.Error(), "broken")
}
