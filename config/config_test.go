package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const goodKey = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

// production is a complete environment that starts.
func production(changes ...string) []string {
	env := []string{
		"HEDDLE_ENV=production",
		"HEDDLE_BASE_URL=https://heddle.example.org/",
		"HEDDLE_SECRET_KEY=" + goodKey,
		"DATABASE_URL=postgres://heddle:hunter2@db.example.org/heddle?sslmode=verify-full",
		"REDIS_URL=rediss://:hunter3@redis.example.org:6380/0",
		"HEDDLE_OIDC_ISSUER=https://login.example.org",
		"HEDDLE_OIDC_CLIENT_ID=heddle",
		"HEDDLE_OIDC_CLIENT_SECRET=hunter4",
	}
	return append(env, changes...)
}

// load reads env alone; dotEnv is the content of .env, empty for no file.
func load(t *testing.T, env []string, dotEnv string) (*Config, []Problem) {
	t.Helper()
	path := filepath.Join(t.TempDir(), ".env")
	if dotEnv != "" {
		require.NoError(t, os.WriteFile(path, []byte(dotEnv), 0o600))
	}
	if env == nil {
		env = []string{}
	}
	cfg, err := Load(Options{Environ: env, DotEnv: path})
	require.NotNil(t, cfg)
	if err == nil {
		return cfg, nil
	}
	var all *Error
	require.True(t, errors.As(err, &all))
	return cfg, all.Problems
}

func names(problems []Problem) []string {
	var list []string
	for _, p := range problems {
		list = append(list, p.Name)
	}
	return list
}

func TestNothingSetIsACompleteDevelopment(t *testing.T) {
	cfg, problems := load(t, nil, "")
	require.Empty(t, problems)
	require.True(t, cfg.Server.Env.Development())
	require.Equal(t, ":8080", cfg.Server.Addr)
	require.Equal(t, "http://localhost:8080", cfg.Server.BaseURL)
	require.Equal(t, "./var", cfg.Server.DataDir)
	require.Equal(t, 180*time.Second, cfg.Server.Drain)
	require.Equal(t, SignupOpen, cfg.SignIn.Signup)
	require.Equal(t, LogText, cfg.Log.Format)
	require.Equal(t, "", cfg.Log.MetricsAddr)
	require.Equal(t, "127.0.0.0/8:*,::1/128:*", cfg.Network.EgressAllow.String())
	require.True(t, cfg.Worker.Enabled.On())
	require.Equal(t, 10, cfg.Worker.Runs)
	require.Equal(t, []time.Duration{15 * time.Second, 5 * time.Second, 2 * time.Second},
		[]time.Duration{cfg.Worker.Lease, cfg.Worker.Renew, cfg.Worker.Sweep})
	require.False(t, cfg.Server.SecretKey.Set())
}

func TestProductionHasStricterDefaults(t *testing.T) {
	cfg, problems := load(t, production(), "")
	require.Empty(t, problems)
	require.Equal(t, "https://heddle.example.org", cfg.Server.BaseURL)
	require.Equal(t, SignupInvite, cfg.SignIn.Signup)
	require.Equal(t, LogJSON, cfg.Log.Format)
	require.Equal(t, "127.0.0.1:9090", cfg.Log.MetricsAddr)
	require.Empty(t, cfg.Network.EgressAllow)
}

func TestEveryStageButDevelopmentListsAllThatIsMissingAtOnce(t *testing.T) {
	for _, name := range []string{"production", "staging", "prod", "Development"} {
		t.Run(name, func(t *testing.T) {
			_, problems := load(t, []string{"HEDDLE_ENV=" + name}, "")
			require.ElementsMatch(t, []string{
				"HEDDLE_BASE_URL", "HEDDLE_SECRET_KEY", "DATABASE_URL", "REDIS_URL", "HEDDLE_OIDC_ISSUER",
			}, names(problems))
			for _, p := range problems {
				require.Contains(t, p.Text, name)
			}
		})
	}
}

func TestAnUnknownStageIsProductionAndStagingIsItself(t *testing.T) {
	require.Equal(t, Production, Environment("prod").Stage())
	require.Equal(t, Staging, Staging.Stage())
	require.Equal(t, Development, Development.Stage())
}

func TestAnUnknownNameStopsTheStartAndNamesTheNearest(t *testing.T) {
	_, problems := load(t, []string{"HEDDLE_WORKER_RUN=3", "HEDDLE_TEST_X=1", "HEDDLE_BENCH_Y=1", "OTHER=1"}, "")
	require.Equal(t, []Problem{{"HEDDLE_WORKER_RUN", "is not a variable of Heddle; the nearest is HEDDLE_WORKER_RUNS"}}, problems)

	_, problems = load(t, []string{"HEDDLE_ADDR_FILE=/x"}, "")
	require.Equal(t, []string{"HEDDLE_ADDR_FILE"}, names(problems), "only secrets come from files")

	_, problems = load(t, nil, "HEDDLE_SINGUP=open\n")
	require.Len(t, problems, 1)
	require.Contains(t, problems[0].Text, "HEDDLE_SIGNUP")
}

func TestServiceLinksOfKubernetesAreNoSettings(t *testing.T) {
	links := []string{"HEDDLE_SERVICE_HOST=10.0.0.1", "HEDDLE_SERVICE_PORT_HTTP=80", "HEDDLE_PORT=tcp://10.0.0.1:80",
		"HEDDLE_WEB_PORT_80_TCP_ADDR=10.0.0.1"}
	_, problems := load(t, append(links, "KUBERNETES_SERVICE_HOST=10.0.0.1"), "")
	require.Empty(t, problems)
	_, problems = load(t, links, "")
	require.Len(t, problems, len(links))
}

func TestEveryBadValueIsListedWithItsName(t *testing.T) {
	_, problems := load(t, []string{
		"HEDDLE_ADDR=8080", "HEDDLE_BASE_URL=https://x.example/app", "HEDDLE_SECRET_KEY=short", "HEDDLE_DRAIN=soon",
		"DATABASE_URL=postgres://u:hunter2@h:port/d", "REDIS_URL=http://:hunter3@h", "HEDDLE_DB_MAX_CONNS=many",
		"HEDDLE_SIGNUP=all", "HEDDLE_GITHUB_CLIENT_ID=only", "OPENAI_BASE_URL=nowhere", "HEDDLE_SMTP_URL=mail.example.org",
		"HEDDLE_EGRESS_ALLOW=10.0.0.0/8", "HEDDLE_CORS_ORIGINS=https://ok.example,*", "HEDDLE_TRUSTED_PROXIES=proxy",
		"HEDDLE_WORKER=yes", "HEDDLE_WORKER_RUNS=1001", "HEDDLE_LEASE_RENEW=10s", "HEDDLE_LOG=loud", "HEDDLE_LOG_FORMAT=xml",
		"HEDDLE_METRICS_ADDR=metrics",
	}, "")
	require.ElementsMatch(t, []string{
		"HEDDLE_ADDR", "HEDDLE_BASE_URL", "HEDDLE_SECRET_KEY", "HEDDLE_DRAIN",
		"DATABASE_URL", "REDIS_URL", "HEDDLE_DB_MAX_CONNS",
		"HEDDLE_SIGNUP", "HEDDLE_GITHUB_CLIENT_SECRET", "OPENAI_BASE_URL", "HEDDLE_SMTP_URL", "HEDDLE_MAIL_FROM",
		"HEDDLE_EGRESS_ALLOW", "HEDDLE_CORS_ORIGINS", "HEDDLE_TRUSTED_PROXIES",
		"HEDDLE_WORKER", "HEDDLE_WORKER_RUNS", "HEDDLE_LEASE_RENEW", "HEDDLE_LOG", "HEDDLE_LOG_FORMAT",
		"HEDDLE_METRICS_ADDR",
	}, names(problems))
	text := (&Error{Problems: problems}).Error()
	require.NotContains(t, text, "hunter")
	require.NotContains(t, text, "short", "not even a bad secret is shown")
}

func TestNumbersHoldAtBothEndsOfTheirRange(t *testing.T) {
	for _, e := range (&Config{}).Entries() {
		if e.Low == "" {
			continue
		}
		for _, value := range []string{e.Low, e.High} {
			_, problems := load(t, []string{e.Name + "=" + value}, "")
			for _, p := range problems {
				require.NotContains(t, p.Text, "outside", "%s=%s", e.Name, value)
			}
		}
		_, problems := load(t, []string{e.Name + "=-1" + strings.TrimLeft(e.Low, "0123456789")}, "")
		require.NotEmpty(t, problems, e.Name)
	}
}

func TestARemoteDatabaseNeedsTLSOutsideDevelopment(t *testing.T) {
	for url, good := range map[string]bool{
		"postgres://u@db.example.org/d":                                   false,
		"postgres://u@db.example.org/d?sslmode=disable":                   false,
		"postgres://u@db.example.org/d?sslmode=allow":                     false,
		"postgres://u@db.example.org/d?sslmode=prefer":                    false,
		"host=db.example.org user=u dbname=d sslmode=prefer":              false,
		"postgres://u@localhost,db.example.org/d?sslmode=disable":         false,
		"postgres://u@db.example.org/d?sslmode=require":                   true,
		"postgres://u@db.example.org/d?sslmode=verify-full":               true,
		"postgres://u@localhost/d":                                        true,
		"postgres://u@127.0.0.1/d?sslmode=disable":                        true,
		"postgres://u@[::1]/d?sslmode=disable":                            true,
		"postgres:///d?host=/var/run/postgresql&user=u":                   true,
		"host=/var/run/postgresql user=u dbname=d sslmode=disable":        true,
		"postgres://u@127.0.0.1.example.org/d?sslmode=disable":            false,
		"postgres://u@localhost.example.org/d?sslmode=prefer&connect_x=1": false,
	} {
		_, problems := load(t, production("DATABASE_URL="+url), "")
		require.Equal(t, good, len(problems) == 0, "%s: %v", url, problems)
		_, problems = load(t, []string{"DATABASE_URL=" + url}, "")
		require.Empty(t, problems, "development takes %s", url)
	}
}

func TestProductionRefusesPlainHTTPAndDevelopmentSettings(t *testing.T) {
	_, problems := load(t, production("HEDDLE_BASE_URL=http://heddle.example.org",
		"HEDDLE_OIDC_ISSUER=http://login.example.org", "HEDDLE_STATIC_DIR=static/dist"), "")
	require.ElementsMatch(t, []string{"HEDDLE_BASE_URL", "HEDDLE_OIDC_ISSUER", "HEDDLE_STATIC_DIR"}, names(problems))
}

func TestAnyOneProviderIsEnough(t *testing.T) {
	without := "HEDDLE_OIDC_ISSUER= HEDDLE_OIDC_CLIENT_ID= HEDDLE_OIDC_CLIENT_SECRET="
	for _, provider := range []string{"GITHUB", "GOOGLE"} {
		env := production(strings.Fields(without)...)
		_, problems := load(t, append(env, "HEDDLE_"+provider+"_CLIENT_ID=a", "HEDDLE_"+provider+"_CLIENT_SECRET=b"), "")
		require.Empty(t, problems)
	}
}

func TestTheLocalAddressFollowsTheListener(t *testing.T) {
	for addr, want := range map[string]string{
		":8080": "http://localhost:8080", "0.0.0.0:9": "http://localhost:9", "[::]:9": "http://localhost:9",
		"127.0.0.1:9": "http://127.0.0.1:9", "[::1]:9": "http://[::1]:9", ":80": "http://localhost", "nonsense": "",
	} {
		require.Equal(t, want, LocalURL(addr), addr)
	}
}

func TestAProviderIsThereByKeyOrByAddress(t *testing.T) {
	for variable, want := range map[string]bool{
		"HEDDLE_ENV=development": false, "OPENAI_API_KEY=x": true, "OPENAI_BASE_URL=http://127.0.0.1:8090/v1/": true,
		"OPENAI_BASE_URL=https://api.openai.com/v1/": false, "OPENAI_BASE_URL=": false,
	} {
		cfg, problems := load(t, []string{variable}, "")
		require.Empty(t, problems)
		require.Equal(t, want, cfg.Models.OpenAI(), variable)
	}
}
