package config

import (
	"bytes"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPackageLogsAtItsOwnLevelOrThatOfItsParent(t *testing.T) {
	cfg, problems := load(t, []string{"HEDDLE_LOG= agents/run=warn, error, agents=debug"}, "")
	require.Empty(t, problems)
	for module, want := range map[string]slog.Level{
		"": slog.LevelError, "store": slog.LevelError, "agentsmith": slog.LevelError,
		"agents": slog.LevelDebug, "agents/graph": slog.LevelDebug, "agents/run": slog.LevelWarn, "agents/run/x": slog.LevelWarn,
	} {
		require.Equal(t, want, cfg.Log.Levels.For(module), module)
	}

	var out bytes.Buffer
	cfg.Log.Logger(&out, "agents").Debug("kept")
	cfg.Log.Logger(&out, "store").Info("dropped")
	require.Contains(t, out.String(), "msg=kept")
	require.NotContains(t, out.String(), "dropped")

	for _, bad := range []string{"info,warn", "=debug", "agents=", "agents=loud"} {
		_, problems := load(t, []string{"HEDDLE_LOG=" + bad}, "")
		require.Len(t, problems, 1, bad)
	}
}

func TestAnEgressRuleCoversItsNetworkAndPort(t *testing.T) {
	cfg, problems := load(t, []string{"HEDDLE_EGRESS_ALLOW=10.1.2.3/16:5432, ::1/128:*"}, "")
	require.Empty(t, problems)
	require.Equal(t, "10.1.0.0/16:5432,::1/128:*", cfg.Network.EgressAllow.String())
	for target, want := range map[string]bool{
		"10.1.9.9:5432": true, "[::ffff:10.1.9.9]:5432": true, "10.1.9.9:5433": false, "10.2.0.1:5432": false,
		"[::1]:1": true, "[::2]:1": false,
	} {
		covered := false
		for _, rule := range cfg.Network.EgressAllow {
			covered = covered || rule.Allows(netip.MustParseAddrPort(target))
		}
		require.Equal(t, want, covered, target)
	}
	cfg, problems = load(t, []string{"HEDDLE_EGRESS_ALLOW=none"}, "")
	require.Empty(t, problems)
	require.Empty(t, cfg.Network.EgressAllow, "not even the default of development")
	for _, bad := range []string{"10.0.0.1:80", "10.0.0.0/8:0", "10.0.0.0/8:65536", "10.0.0.0/40:1", "x/8:1"} {
		_, problems := load(t, []string{"HEDDLE_EGRESS_ALLOW=" + bad}, "")
		require.Len(t, problems, 1, bad)
	}
}

func TestOriginsTakeTheFormBrowsersSend(t *testing.T) {
	cfg, problems := load(t, []string{"HEDDLE_CORS_ORIGINS=https://A.example:443/, http://b.example:8080",
		"HEDDLE_TRUSTED_PROXIES=10.0.0.7,fd00::/8"}, "")
	require.Empty(t, problems)
	require.Equal(t, Origins{"https://a.example", "http://b.example:8080"}, cfg.Network.CORSOrigins)
	require.Equal(t, "10.0.0.7/32,fd00::/8", cfg.Network.TrustedProxies.String())
}
