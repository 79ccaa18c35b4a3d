package gallery

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/a-h/templ"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/static"
	"github.com/heddle/heddle/views/account"
	"github.com/heddle/heddle/views/admin"
	"github.com/heddle/heddle/views/chat"
	"github.com/heddle/heddle/views/diff"
	"github.com/heddle/heddle/views/layout"
	"github.com/heddle/heddle/views/memory"
	"github.com/heddle/heddle/views/ui"
)

var update = flag.Bool("update", false, "write the golden files anew")

// plainAssets have names that do not change with their content.
func plainAssets(t *testing.T) *static.Assets {
	t.Helper()
	assets, err := static.Load(fstest.MapFS{
		"manifest.json": {Data: []byte(`{"files":{"app.css":"app.css","app.js":"app.js","mark.svg":"mark.svg","inter-latin-wght-normal.woff2":"inter.woff2"},"sprite":"icons.svg"}`)},
		"icons.svg":     {Data: []byte(`<svg class="sprite"></svg>`)},
	})
	require.NoError(t, err)
	return assets
}

// states are the components by the name of their golden file.
func states(t *testing.T) map[string]templ.Component {
	live, whole, bad := streaming(), long(), failed()
	idle := chat.Status{State: chat.RunIdle, Assistant: "Heddle guide"}
	status := func(s chat.RunState, text string) chat.Status {
		return chat.Status{State: s, Text: text, Since: at("2026-11-21T09:42:00Z", "4 s"), Step: "step 2", Assistant: "Heddle guide"}
	}
	p := page(plainAssets(t), layout.ThemeDark, "Account")
	out := map[string]templ.Component{
		"ui-button-plain": ui.ButtonOf(ui.Button{Label: "Save"}), "ui-button-icon": ui.ButtonOf(ui.Button{Label: "Close", Icon: "close", IconOnly: true, Variant: ui.Quiet, Small: true}),
		"ui-button-elsewhere": ui.ButtonOf(ui.Button{Label: "Stop", Form: "f", Action: "/stop", Name: "run", Value: "1", Disabled: true, Variant: ui.Danger}), "ui-button-link": ui.ButtonOf(ui.Button{Label: "Go", Href: "/x?a=1&b=2", Variant: ui.Primary}),
		"ui-field": ui.FieldOf(ui.Field{ID: "f", Name: "n", Label: "Name", Hint: "As on the badge", Required: true}), "ui-field-error": ui.FieldOf(ui.Field{ID: "f", Name: "n", Label: "Name", Value: `a "b"`, Hint: "h", Error: "Give a name."}),
		"ui-select": ui.SelectOf(ui.Field{ID: "s", Name: "s", Label: "For"}, []ui.Option{{Value: "1", Label: "One"}, {Value: "2", Label: "Two", Selected: true}}),
		"ui-badge":  ui.BadgeOf(ui.Wait, "waiting"), "ui-time": ui.TimeOf(ui.Time{ISO: "2026-11-21T09:41:00Z", Text: "4 min ago", Title: "21 November 2026, 09:41", Relative: true}), "ui-flash": ui.FlashOf(ui.Flash{Tone: ui.Bad, Text: "Not saved."}),
		"ui-mark-work": ui.Mark(ui.MarkWork), "ui-empty": ui.EmptyOf(ui.Empty{Icon: "thread", Title: "Nothing yet", Text: "Begin one."}), "ui-menu": ui.Menu("m", ui.Button{Label: "More", Icon: "menu", IconOnly: true}), "ui-dialog": ui.DialogOf("d", "Title"),
		"message-user": chat.MessageOf(whole.Messages[0]), "message-complete": chat.MessageOf(whole.Messages[1]), "message-stopped": chat.MessageOf(whole.Messages[5]),
		"message-streaming": chat.MessageOf(live.Messages[3]), "message-failed": chat.MessageOf(bad.Messages[1]), "message-continuing": chat.MessageOf(readOnly().Messages[1]), "block": chat.BlockOf("m1", live.Messages[1].Blocks[0]),
		"status-idle": chat.StatusLine(idle), "status-working": chat.StatusLine(status(chat.RunWorking, "Searching")), "status-continuing": chat.StatusLine(status(chat.RunContinuing, "Going on after a restart")),
		"status-waiting": chat.StatusLine(status(chat.RunWaiting, "Waiting for a review")), "status-failed": chat.StatusLine(status(chat.RunFailed, "The last answer failed")), "status-failed-often": chat.StatusLine(bad.Status),
		"queue": chat.Queue("t1", live.Queue), "queue-empty": chat.Queue("t1", nil), "actions-idle": chat.ComposerActions("t1", false, false), "actions-busy": chat.ComposerActions("t1", true, false), "actions-disabled": chat.ComposerActions("t1", false, true),
		"composer-new": chat.ComposerOf("", composer("")), "composer-error": chat.ComposerOf("t4", bad.Composer), "title": chat.TitleOf("A <b>title</b>"),
		"list": chat.ThreadList(list("t2")), "list-empty": chat.ThreadList(chat.List{}), "list-nothing-found": chat.ThreadList(chat.List{Query: "<unicorns>"}),
		"page-audit": admin.AuditPage(p, adminNav("audit"), auditLog()), "page-audit-broken": admin.AuditPage(p, adminNav("audit"), auditBroken()), "page-audit-empty": admin.AuditPage(p, adminNav("audit"), auditEmpty()),
		"diff": diff.DiffOf(fieldDiffs()[0].Parts), "assistants": admin.AssistantsPage(p, adminNav("assistants"), assistants()), "assistant": admin.AssistantPage(p, adminNav("assistants"), refusedAssistant()),
		"assistant-new": admin.AssistantPage(p, adminNav("assistants"), newAssistant()), "assistant-version": admin.VersionPage(p, adminNav("assistants"), version()), "assistant-diff": admin.ComparisonPage(p, adminNav("assistants"), comparison()),
		"page-account": account.ProfilePage(p, profile()), "page-memory": memory.Page(p, ownMemory()), "page-memory-none": memory.Page(p, nothingRemembered()),
		"page-memory-item": memory.OneItem(p, oneItem("/account/memory")), "page-memory-changed": memory.OneItem(p, changedItem()), "page-memory-admin": memory.OverviewPage(p, memories()),
		"page-memory-found": memory.OverviewPage(p, foundMemories()),
	}
	maps.Copy(out, memberStates(p))
	maps.Copy(out, reviewStates())
	maps.Copy(out, studioStates(p))
	return out
}

func TestComponentsRenderAsAgreed(t *testing.T) {
	seen := map[string]bool{}
	for name, c := range states(t) {
		seen[name+".html"] = true
		t.Run(name, func(t *testing.T) {
			got := lines(html(c))
			file := filepath.Join("testdata", name+".html")
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err, "run go test ./views/gallery -run AsAgreed -update")
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s differs (-want +got):\n%s", file, diff)
			}
		})
	}
	entries, err := os.ReadDir("testdata")
	require.NoError(t, err)
	for _, e := range entries {
		require.True(t, seen[e.Name()], "testdata/%s belongs to no component", e.Name())
	}
}

var tagStart = regexp.MustCompile(`<(?:[a-zA-Z!])`)

// lines puts each element on a line of its own, so that differences are small.
func lines(markup string) string {
	return strings.TrimLeft(tagStart.ReplaceAllString(markup, "\n$0"), "\n") + "\n"
}
