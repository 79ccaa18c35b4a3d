package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/static"
)

func TestOnlyShapesReachTheSprite(t *testing.T) {
	shapes, err := shapesOf([]byte(`<!-- c --><svg class="x"><path d="M1 2" /><circle cx="3" r='"1'/></svg>`))
	require.NoError(t, err)
	require.Equal(t, `<path d="M1 2"/><circle cx="3" r="&#34;1"/>`, shapes)
	_, err = shapesOf([]byte(`<svg><script>alert(1)</script></svg>`))
	require.ErrorContains(t, err, "script")
}

func TestABuildIsFreshUntilASourceOrAFileOfItChanges(t *testing.T) {
	dir := t.TempDir()
	put := func(name, body string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(body), 0o644))
	}
	put("package-lock.json", "{}")
	put("src/a.css", "a{}")
	put("build/main.go", "package main")
	first, err := fingerprint(dir)
	require.NoError(t, err)
	dist := filepath.Join(dir, "dist")
	require.False(t, fresh(dist, first))
	require.NoError(t, write(dir, first, []file{{plain: "a.css", hashed: "a-1.css", body: []byte("a{}")}}, []byte("<svg/>")))
	require.True(t, fresh(dist, first))

	assets, err := static.Load(os.DirFS(dist))
	require.NoError(t, err)
	require.Equal(t, "/static/a-1.css", assets.URL("a.css"))
	name, encoding, ok := assets.Pick("a-1.css", "br, gzip")
	require.True(t, ok)
	require.Equal(t, [2]string{"a-1.css.br", "br"}, [2]string{name, encoding})

	put("src/a.css", "a{color:red}")
	second, err := fingerprint(dir)
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	require.False(t, fresh(dist, second))
	require.NoError(t, os.Remove(filepath.Join(dist, "a-1.css")))
	require.False(t, fresh(dist, first))
}
