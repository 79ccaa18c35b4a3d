package arch

// A pattern names packages: "store" is that package alone, "store/..." also
// everything below it. Paths of our own are relative to the module; the others
// are as in an import. The standard library is open to all.

// everywhere may be imported by every room.
var everywhere = []string{
	"internal/fault", "internal/clock", "internal/failpoint", "internal/id", "internal/secret",
	"golang.org/x/sync/...",
}

// domain is what the agents' rooms build on.
var domain = []string{"agents", "agents/event", "auth"}

// lowest are the rooms of agents below the graph. They may know each other
// (a tool may use the memory); the compiler keeps circles out.
var lowest = []string{
	"agents/transcript", "agents/model/...", "agents/tool/...", "agents/memory/...", "agents/file/...", "agents/review/...",
}

// room says what the packages of one pattern may import beyond everywhere.
type room struct {
	packages string
	may      []string
}

// rooms is the table. The longest pattern that fits a package is its room; a
// package without a room fails the test. "*" stands for everything.
var rooms = []room{
	{"internal/fault", nil},
	{"internal/clock", nil},
	{"internal/failpoint", nil},
	{"internal/secret", nil},
	{"internal/id", list("github.com/google/uuid")},

	{"auth", nil},
	{"agents/event", nil},
	{"agents/event/eventtest", list(domain, "github.com/google/jsonschema-go/...")},
	{"agents", domain},

	{"auth/oauth/...", list("auth", "github.com/markbates/goth/...", "github.com/coreos/go-oidc/v3/...", "github.com/go-jose/go-jose/v4/...", "golang.org/x/oauth2/...")},
	{"auth/devidp/...", list("auth", "github.com/go-jose/go-jose/v4/...")},
	{"auth/signin/...", list("auth", "auth/oauth")},

	{"agents/transcript", domain},
	{"agents/model/...", list(domain, lowest)},
	{"agents/model/openai", list(domain, lowest, "github.com/openai/openai-go/v3/...")},
	{"agents/model/openai/openaitest", nil},
	{"agents/model/modeltest", list(domain, lowest, suite)},
	{"agents/tool/...", list(domain, lowest, "github.com/google/jsonschema-go/...")},
	{"agents/tool/tooltest", list(domain, lowest, suite)},
	{"agents/memory/...", list(domain, lowest)},
	{"agents/file/...", list(domain, lowest)},
	{"agents/review/...", list(domain, lowest)},
	// It tells clients what types its channels have.
	{"agents/graph/...", list(domain, lowest, "agents/graph/...", "github.com/google/jsonschema-go/...")},
	{"agents/graph/graphtest", list(domain, "agents/graph", "agents/checkpoint/memory")},
	{"agents/checkpoint/memory", list(domain)},
	{"agents/checkpoint/sqlite", list(domain, "github.com/ncruces/go-sqlite3/...")},
	{"agents/checkpoint/checkpointtest", list(domain, "agents/graph", suite)},
	{"agents/prebuilt/...", list(domain, lowest, "agents/graph/...", "agents/prebuilt/...")},
	{"agents/replay", list(domain, lowest, "agents/graph", "agents/checkpoint/memory", "agents/prebuilt")},
	{"agents/replay/replaytest", list(domain, "agents/graph")},
	{"agents/retention", list(domain)},
	{"agents/run/...", list(domain, lowest, "agents/graph/...", "agents/run/...")},
	{"agents/sink/...", list(domain, "agents/sink/...")},

	// The wire knows no domain: topics are strings and payloads are bytes.
	{"realtime/...", list("realtime/...", fiber, redis)},
	{"realtime/embedded", list("github.com/alicebob/miniredis/v2/...")},
	{"realtime/pubsubtest", list("realtime/...", suite)},

	{"store", list(domain, "migrations", pgx, "github.com/klauspost/compress/...")},
	{"store/storetest/...", list(domain, "store", "migrations", pgx, "internal/testpg", suite)},
	{"store/embedded/...", list("store/embedded/...", pgx, redis, "github.com/alicebob/miniredis/v2/...", "golang.org/x/sys/...")},
	{"migrations", nil},

	{"static", nil},
	{"static/build", list("static", "github.com/evanw/esbuild/...", "github.com/andybalholm/brotli/...")},
	{"views/...", list("views/...", "agents", "auth", "static", "github.com/a-h/templ/...",
		"github.com/yuin/goldmark/...", "github.com/alecthomas/chroma/v2/...", "github.com/microcosm-cc/bluemonday/...")},
	{"views/diff", list("views/ui", "github.com/a-h/templ/...", "github.com/sergi/go-diff/...")},
	{"views/argform", list("views/ui", "views/diff", "github.com/a-h/templ/...")},

	// Handlers declare the small interfaces they need: never store, pgx, redis.
	{"handlers/...", list("handlers/...", "views/...", "realtime/...", "agents/...", "auth/...", "static", "github.com/a-h/templ/...", fiber)},

	// What leaves the machine on somebody's word. Tools see interfaces of their own.
	{"outbound/egress", nil},
	{"outbound/mail", list("auth", "github.com/wneessen/go-mail/...")},
	{"outbound/mail/mailtest", nil},
	{"outbound/webhook", list("agents", "auth", "outbound/egress")},

	{"config", list("github.com/caarlos0/env/v11/...", "github.com/jackc/pgx/v5/pgconn")},
	{"app/...", list("*")},
	{"cmd/...", list("*")},

	// What newcomers read first: the engine as any program may use it.
	{"examples/...", list("agents", "agents/event", "agents/graph", "agents/checkpoint/memory", "agents/checkpoint/sqlite")},

	// The fault protocol: harness, command and, with a tag, the node it torments.
	{"internal/chaos/...", list("*")},

	{"internal/testbrowser", list("github.com/chromedp/chromedp")},
	{"internal/testpg/...", list("*")},
	{"internal/testredis/...", list("*")},
	{"internal/testweb/...", list("*")},
	// What clients rely on, as they call it; it has tests only.
	{"internal/contract", nil},
	{"internal/arch", nil},
	{"scripts", nil},
}

var (
	pgx   = list("github.com/jackc/pgx/v5/...", "github.com/jackc/tern/v2/...")
	redis = list("github.com/redis/go-redis/v9/...")
	// suite is what a conformance suite, a package other tests call, needs.
	suite = list("github.com/stretchr/testify/...", "github.com/google/go-cmp/...", "go.uber.org/goleak")
	fiber = list("github.com/gofiber/fiber/v2/...", "github.com/gofiber/contrib/websocket", "github.com/fasthttp/websocket", "github.com/valyala/fasthttp/...")
)

// keeper lets only some packages import what a pattern names, whatever the
// importer's room allows.
type keeper struct {
	imported string
	only     []string
	why      string
}

var keepers = []keeper{
	{"config", list("app/...", "cmd/...", "internal/testweb/...", "internal/chaos/..."), "everybody else takes an Options struct"},
	{"app/...", list("app/...", "cmd/...", "internal/testweb/...", "internal/chaos/..."), "app wires the others together, and nobody is wired to it"},
	{"cmd/...", list("cmd/..."), "commands are entry points"},
	{"internal/testbrowser", list("internal/testbrowser"), "it is test support"},
	{"internal/testpg/...", list("internal/testpg/...", "internal/testweb/...", "store/storetest/..."), "it is test support"},
	{"internal/testredis/...", list("internal/testredis/...", "internal/testweb/...", "store/storetest/..."), "it is test support"},
	{"internal/testweb/...", list("internal/testweb/..."), "it is test support"},
	{"internal/chaos/...", list("internal/chaos/..."), "it is test support"},
	{"store/storetest/...", list("store/storetest/..."), "it is test support"},
	{"outbound/...", list("app/...", "cmd/...", "outbound/...", "internal/testweb/..."), "tools and handlers declare the small interfaces they need"},
	{"outbound/mail/mailtest", list("outbound/mail/mailtest"), "it is test support"},
	{"agents/event/eventtest", list("agents/event/eventtest"), "it is test support"},
	{"agents/model/modeltest", list("agents/model/modeltest"), "it is test support"},
	{"agents/graph/graphtest", list("agents/graph/graphtest"), "it is test support"},
	{"agents/checkpoint/checkpointtest", list("agents/checkpoint/checkpointtest"), "it is test support"},
	{"agents/replay/replaytest", list("agents/replay/replaytest"), "it is test support"},
	{"agents/model/openai/openaitest", list("agents/model/openai/openaitest", "cmd/openaitest", "internal/testweb/...", "internal/chaos/..."), "it is test support"},
	{"agents/tool/tooltest", list("agents/tool/tooltest"), "it is test support"},
	{"realtime/pubsubtest", list("realtime/pubsubtest"), "it is test support"},
	{"github.com/stretchr/testify/...", list("store/storetest/...", "agents/checkpoint/checkpointtest", "agents/model/modeltest", "agents/tool/tooltest", "realtime/pubsubtest", "internal/testpg/...", "internal/testredis/...", "internal/testweb/..."), "it is a test library"},
	{"github.com/wneessen/go-mail/...", list("outbound/mail"), "mail leaves through one package"},
	{"github.com/ncruces/go-sqlite3/...", list("agents/checkpoint/sqlite"), "SQLite is for programs that use the graph as a library"},
	{"github.com/google/uuid", list("internal/id"), "ids are made and read by internal/id"},
	{"github.com/google/jsonschema-go/...", list("agents/tool/...", "agents/graph", "agents/event/eventtest"), "schemas belong to tools, to channels and to the envelopes' documentation"},
}

// banned are package names that say nothing.
var banned = list("util", "utils", "common", "helper", "helpers", "misc", "shared", "base", "lib", "types", "models", "services")

// list joins words and lists of words.
func list(parts ...any) []string {
	var all []string
	for _, part := range parts {
		switch part := part.(type) {
		case string:
			all = append(all, part)
		case []string:
			all = append(all, part...)
		}
	}
	return all
}
