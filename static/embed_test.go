package static

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func built() fstest.MapFS {
	return fstest.MapFS{
		"manifest.json":   {Data: []byte(`{"files":{"app.css":"app-AB.css","f.woff2":"f-CD.woff2"},"sprite":"icons.svg"}`)},
		"icons.svg":       {Data: []byte("<svg></svg>")},
		"app-AB.css":      {Data: []byte("a{}")},
		"app-AB.css.gz":   {Data: []byte("gz")},
		"app-AB.css.br":   {Data: []byte("br")},
		"f-CD.woff2":      {Data: []byte("font")},
		"not-in-manifest": {Data: []byte("secret")},
	}
}

func TestPlainNamesFindHashedFiles(t *testing.T) {
	a, err := Load(built())
	require.NoError(t, err)
	require.Equal(t, "/static/app-AB.css", a.URL("app.css"))
	require.Equal(t, "/static/missing/nope.js", a.URL("nope.js"))
	require.Equal(t, "<svg></svg>", a.Sprite())
}

func TestTheSmallestAcceptedFormIsPicked(t *testing.T) {
	a, err := Load(built())
	require.NoError(t, err)
	for header, want := range map[string][2]string{
		"gzip, deflate, br": {"app-AB.css.br", "br"}, "gzip": {"app-AB.css.gz", "gzip"}, "": {"app-AB.css", ""},
		"br;q=0, gzip;q=0.5": {"app-AB.css.gz", "gzip"}, "identity": {"app-AB.css", ""},
	} {
		file, encoding, ok := a.Pick("app-AB.css", header)
		require.True(t, ok)
		require.Equal(t, want, [2]string{file, encoding}, header)
	}
	file, encoding, ok := a.Pick("f-CD.woff2", "gzip, br")
	require.True(t, ok)
	require.Equal(t, "f-CD.woff2", file)
	require.Empty(t, encoding)
}

func TestOnlyFilesOfTheManifestAreServed(t *testing.T) {
	a, err := Load(built())
	require.NoError(t, err)
	for _, name := range []string{"not-in-manifest", "manifest.json", "../embed.go", "", ".", "app-AB.css.gz"} {
		_, _, ok := a.Pick(name, "")
		require.False(t, ok, name)
	}
}

func TestUnbuiltFilesSayWhatToRun(t *testing.T) {
	_, err := Load(fstest.MapFS{".keep": {}})
	require.ErrorIs(t, err, ErrNotBuilt)
	require.ErrorContains(t, err, "go run ./static/build")
}
