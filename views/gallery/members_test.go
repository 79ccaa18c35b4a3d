package gallery

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testbrowser"
	"github.com/heddle/heddle/internal/testweb"
)

// TestAnOpenPageFollowsARoleAndLeavesWithItsMember is what a person with an open
// page sees when an admin changes their role, then removes them.
func TestAnOpenPageFollowsARoleAndLeavesWithItsMember(t *testing.T) {
	server := testweb.Start(t, testweb.Options{})
	ada := server.SignIn("ada@acme.test")
	member := "/admin/members/" + string(server.Scope("acme", "mia@acme.test").User)
	tb := openTab(t, testbrowser.Start(t))
	tb.expected = []string{"WebSocket connection to", "401"}
	tb.run(desktop.action())
	tb.open(server.URL() + "/auth/dev?login_hint=mia@acme.test")
	tb.until(`document.querySelector(".menu-who").textContent.includes("member in Acme")`)
	// Her page hears of what she does elsewhere: its socket is open.
	listening := func(words string) {
		t.Helper()
		server.NewThread(server.SignIn("mia@acme.test"), words)
		tb.until(`document.querySelector(".thread-list")?.textContent.includes("` + words + `")`)
	}
	listening("first words")
	tb.do(`window.opened = true`)

	server.Post(ada, member+"/role", url.Values{"role": {"reviewer"}})
	tb.until(`window.opened === undefined && document.querySelector(".menu-who")?.textContent.includes("reviewer in Acme")`)

	listening("second words")
	begin := time.Now()
	server.Post(ada, member+"/remove", nil)
	tb.until(`location.pathname === "/auth/login"`)
	require.Less(t, time.Since(begin), 4*time.Second, "told, before the server's own look every five seconds")
}
