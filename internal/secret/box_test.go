package secret_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/secret"
)

func TestWhatIsSealedOpensForItsPurposeAndThingAlone(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	box, err := secret.NewBox(key, "webhooks")
	require.NoError(t, err)
	same, err := secret.NewBox(key, "webhooks")
	require.NoError(t, err)
	purpose, err := secret.NewBox(key, "tokens")
	require.NoError(t, err)
	other, err := secret.NewBox(bytes.Repeat([]byte{8}, 32), "webhooks")
	require.NoError(t, err)

	sealed := box.Seal([]byte("three taps"), "acme/1")
	require.NotContains(t, string(sealed), "three taps")
	require.NotEqual(t, sealed, box.Seal([]byte("three taps"), "acme/1"))
	text, err := same.Open(sealed, "acme/1")
	require.NoError(t, err)
	require.Equal(t, "three taps", string(text))

	for name, open := range map[string]func() ([]byte, error){
		"another thing":   func() ([]byte, error) { return box.Open(sealed, "globex/1") },
		"another purpose": func() ([]byte, error) { return purpose.Open(sealed, "acme/1") },
		"another key":     func() ([]byte, error) { return other.Open(sealed, "acme/1") },
		"nothing":         func() ([]byte, error) { return box.Open(nil, "acme/1") },
		"a part":          func() ([]byte, error) { return box.Open(sealed[:9], "acme/1") },
	} {
		_, err := open()
		require.ErrorIs(t, err, secret.ErrSealed, name)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		_, err := box.Open(changed, "acme/1")
		require.ErrorIs(t, err, secret.ErrSealed, "byte %d", i)
	}
}
