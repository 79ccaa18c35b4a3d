package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheRealEnvironmentWinsOverDotEnv(t *testing.T) {
	cfg, problems := load(t, []string{"HEDDLE_ADDR=:1111", "HEDDLE_LOG="}, `
# a comment
HEDDLE_ADDR=:2222
export HEDDLE_LOG=error,agents=debug # why
HEDDLE_OIDC_NAME="Our # house"
OPENAI_API_KEY='sk-"1'
`)
	require.Empty(t, problems)
	require.Equal(t, ":1111", cfg.Server.Addr)
	require.Equal(t, "error,agents=debug", cfg.Log.Levels.String(), "an empty variable counts as unset")
	require.Equal(t, "Our # house", cfg.SignIn.OIDCName)
	require.Equal(t, `sk-"1`, cfg.Models.OpenAIKey.Reveal())

	sources := map[string]Source{}
	for _, e := range cfg.Entries() {
		sources[e.Name] = e.Source
	}
	require.Equal(t, FromEnv, sources["HEDDLE_ADDR"])
	require.Equal(t, FromDotEnv, sources["HEDDLE_LOG"])
	require.Equal(t, FromDefault, sources["HEDDLE_DRAIN"])
}

func TestDotEnvIsReadInDevelopmentOnly(t *testing.T) {
	cfg, problems := load(t, production(), "HEDDLE_ADDR=:2222\nHEDDLE_NONSENSE=1\nnot a line\n")
	require.Empty(t, problems)
	require.Equal(t, ":8080", cfg.Server.Addr)
}

func TestDotEnvCannotChangeTheStage(t *testing.T) {
	_, problems := load(t, nil, "HEDDLE_ENV=production\n")
	require.Len(t, problems, 1)
	require.Contains(t, problems[0].Text, "real environment")
}

func TestMistakesInDotEnvNameTheLineAndHideItsText(t *testing.T) {
	_, problems := load(t, nil, "HEDDLE_ADDR=:1\nhunter2\nOPENAI_API_KEY=\"hunter3\n1X=hunter4\nHEDDLE_ADDR=:2\n")
	require.Len(t, problems, 4)
	for i, line := range []string{"line 2", "line 3", "line 4", "line 5"} {
		require.Contains(t, problems[i].Name, line)
		require.NotContains(t, problems[i].Text, "hunter")
	}
}

func TestASecretMayComeFromAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(path, []byte(" s p a c e \r\n"), 0o600))
	cfg, problems := load(t, []string{"OPENAI_API_KEY_FILE=" + path}, "OPENAI_API_KEY=from-dot-env\n")
	require.Empty(t, problems)
	require.Equal(t, " s p a c e ", cfg.Models.OpenAIKey.Reveal())
	for _, e := range cfg.Entries() {
		if e.Name == "OPENAI_API_KEY" {
			require.Equal(t, FromFile, e.Source)
		}
	}
}

func TestASecretFileThatDoesNotServeIsAMistake(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, []byte("\n"), 0o600))
	big := filepath.Join(dir, "big")
	require.NoError(t, os.WriteFile(big, make([]byte, maxSecretFile+1), 0o600))
	for _, path := range []string{empty, big, dir, filepath.Join(dir, "absent")} {
		_, problems := load(t, []string{"OPENAI_API_KEY_FILE=" + path}, "")
		require.Equal(t, []string{"OPENAI_API_KEY_FILE"}, names(problems), path)
	}
	_, problems := load(t, []string{"OPENAI_API_KEY=x", "OPENAI_API_KEY_FILE=" + empty}, "")
	require.Equal(t, []string{"OPENAI_API_KEY"}, names(problems), "both at once")

	_, problems = load(t, production("HEDDLE_SECRET_KEY=", "HEDDLE_SECRET_KEY_FILE="+empty), "")
	require.Equal(t, []string{"HEDDLE_SECRET_KEY_FILE"}, names(problems), "one mistake is listed once")
}

func TestPrintShowsEveryVariableAndNoSecret(t *testing.T) {
	cfg, problems := load(t, production(), "")
	require.Empty(t, problems)
	var b strings.Builder
	require.NoError(t, cfg.Print(&b))
	require.NotContains(t, b.String(), "hunter")
	require.NotContains(t, b.String(), goodKey)
	require.Regexp(t, `(?m)^DATABASE_URL +\*{8} +environment$`, b.String())
	require.Regexp(t, `(?m)^HEDDLE_ADDR +:8080 +default$`, b.String())
	require.Regexp(t, `(?m)^OPENAI_API_KEY +- +default$`, b.String())
	require.Equal(t, len(cfg.Entries())+1, strings.Count(b.String(), "\n"))
}
