package config

import "time"

// The tags of a variable:
//
//	env         its name
//	envDefault  its value when nobody sets it
//	devDefault  the same in development, when that differs
//	range       lowest and highest value allowed, both included
//	oneof       the only values allowed
//	secret      "true": never printed, and NAME_FILE may name a file with it
//	doc         one or two sentences for `heddle config` and docs/config.md

// Server is how the process is reached and where it keeps its files.
type Server struct {
	Env       Environment `env:"HEDDLE_ENV" envDefault:"development" doc:"development, staging or production. Any other name behaves as production. Outside development nothing is generated, embedded or assumed: what is missing stops the start."`
	Addr      string      `env:"HEDDLE_ADDR" envDefault:":8080" doc:"Address to listen on, as host:port; an empty host means all interfaces."`
	BaseURL   string      `env:"HEDDLE_BASE_URL" doc:"Public origin of this installation, as in https://heddle.example.org, without a path. Required outside development, there with https; in development it follows from HEDDLE_ADDR."`
	DataDir   string      `env:"HEDDLE_DATA_DIR" envDefault:"./var" doc:"Directory for what this machine keeps: the embedded database, the development secret and the mail of development."`
	SecretKey Secret      `env:"HEDDLE_SECRET_KEY" secret:"true" doc:"At least 32 random bytes in hex or base64 (openssl rand -base64 32). Signs cookies and encrypts stored tokens; the same on every node. In development one is made and kept in HEDDLE_DATA_DIR."`
	Drain     Duration    `env:"HEDDLE_DRAIN" envDefault:"180s" range:"0s..1h" doc:"How long a stopping process may finish its runs before it hands them back. Give the container 15 s more."`
	StaticDir string      `env:"HEDDLE_STATIC_DIR" doc:"Development only: serve assets from this directory instead of those inside the binary."`
}

// Storage is where data lives.
type Storage struct {
	DatabaseURL Secret   `env:"DATABASE_URL" secret:"true" doc:"PostgreSQL 15 or later, as postgres://user:password@host/database. Required outside development, where a remote host also needs sslmode=require or stronger. In development an embedded server is the default."`
	RedisURL    Secret   `env:"REDIS_URL" secret:"true" doc:"Redis, as redis://, rediss:// (TLS) or unix://. Required outside development; there an embedded one is the default."`
	DBMaxConns  int      `env:"HEDDLE_DB_MAX_CONNS" envDefault:"20" range:"2..1000" doc:"Most connections to PostgreSQL in the main pool of this process."`
	DBMinConns  int      `env:"HEDDLE_DB_MIN_CONNS" envDefault:"5" range:"0..1000" doc:"Connections kept open in the main pool when idle."`
	DBStatement Duration `env:"HEDDLE_DB_STATEMENT_TIMEOUT" envDefault:"60s" range:"1s..1h" doc:"A statement that takes longer is ended, and so is a connection that is silent for longer."`
	PostgresBin string   `env:"HEDDLE_POSTGRES_BIN" doc:"Directory of initdb and postgres for the embedded server; empty means search the usual places."`
}

// SignIn is who may come in and through which identity provider.
type SignIn struct {
	Signup             Signup `env:"HEDDLE_SIGNUP" envDefault:"invite" devDefault:"open" oneof:"invite,domain,open" doc:"Who may join: invite (only people with an invitation), domain (also people whose verified e-mail domain belongs to an organisation), open (everyone; a newcomer gets an organisation of their own)."`
	OIDCIssuer         string `env:"HEDDLE_OIDC_ISSUER" doc:"Issuer URL of an OpenID Connect provider. Its three variables go together; outside development at least one provider is required."`
	OIDCClientID       string `env:"HEDDLE_OIDC_CLIENT_ID" doc:"Client id at the OpenID Connect provider."`
	OIDCClientSecret   Secret `env:"HEDDLE_OIDC_CLIENT_SECRET" secret:"true" doc:"Client secret at the OpenID Connect provider."`
	OIDCName           string `env:"HEDDLE_OIDC_NAME" envDefault:"Single sign-on" doc:"What the sign-in button of the OpenID Connect provider says."`
	GitHubClientID     string `env:"HEDDLE_GITHUB_CLIENT_ID" doc:"Client id of a GitHub OAuth app."`
	GitHubClientSecret Secret `env:"HEDDLE_GITHUB_CLIENT_SECRET" secret:"true" doc:"Client secret of the GitHub OAuth app."`
	GoogleClientID     string `env:"HEDDLE_GOOGLE_CLIENT_ID" doc:"Client id at Google."`
	GoogleClientSecret Secret `env:"HEDDLE_GOOGLE_CLIENT_SECRET" secret:"true" doc:"Client secret at Google."`
}

// Models is the model providers. Without any only the mock model answers.
type Models struct {
	OpenAIKey        Secret `env:"OPENAI_API_KEY" secret:"true" doc:"Key for OpenAI, or for the server of OPENAI_BASE_URL. With either of the two set, assistants may use the models openai:NAME, such as openai:gpt-4o-mini."`
	OpenAIBaseURL    string `env:"OPENAI_BASE_URL" envDefault:"https://api.openai.com/v1" doc:"Where OpenAI's Chat Completions are: /chat/completions is appended. Set it for a compatible server, which may need no key. It is reached directly or by the proxy of HTTP_PROXY, HTTPS_PROXY and NO_PROXY, private addresses too."`
	AnthropicKey     Secret `env:"ANTHROPIC_API_KEY" secret:"true" doc:"Reserved; this version does not use it yet. Key for Anthropic."`
	AnthropicBaseURL string `env:"ANTHROPIC_BASE_URL" envDefault:"https://api.anthropic.com" doc:"Reserved; this version does not use it yet. Base URL of the Anthropic protocol."`
}

// Mail is how messages leave the house.
type Mail struct {
	SMTPURL Secret `env:"HEDDLE_SMTP_URL" secret:"true" doc:"Mail server, as smtp://user:password@host:587 (STARTTLS, required unless the host is this machine) or smtps://user:password@host:465. Empty: no mail is sent and assistants have no e-mail tool; in development, mail is kept in HEDDLE_DATA_DIR/outbox and shown at /dev/outbox."`
	From    string `env:"HEDDLE_MAIL_FROM" doc:"Sender of mail, as Heddle <heddle@example.org>. Required with HEDDLE_SMTP_URL."`
}

// Network is what may be reached, and who may reach us.
type Network struct {
	EgressAllow    EgressRules `env:"HEDDLE_EGRESS_ALLOW" devDefault:"127.0.0.0/8:*,::1/128:*" doc:"Targets that tools and webhooks may reach beyond public hosts on the ports 80 and 443, as CIDR:port with * for any port, separated by commas, or none."`
	Webhooks       Switch      `env:"HEDDLE_WEBHOOKS" envDefault:"on" oneof:"on,off" doc:"Whether runs may name a webhook that is told of their end, and whether those are sent; the same on every node. What is reached follows HEDDLE_EGRESS_ALLOW."`
	CORSOrigins    Origins     `env:"HEDDLE_CORS_ORIGINS" doc:"Origins of other sites whose pages may call the API with a key, separated by commas; never with cookies."`
	RateLimits     Switch      `env:"HEDDLE_RATE_LIMITS" envDefault:"on" devDefault:"off" oneof:"on,off" doc:"Whether sign-ins per address, new API keys and started runs per person, and API requests per key are limited on each node; off for load tests."`
	TrustedProxies Prefixes    `env:"HEDDLE_TRUSTED_PROXIES" doc:"Addresses or CIDRs of reverse proxies whose X-Forwarded- headers are believed, separated by commas."`
}

// Worker is how runs are executed, here and on every other node. Lease, renew
// and sweep must agree between nodes of one installation.
type Worker struct {
	Enabled Switch   `env:"HEDDLE_WORKER" envDefault:"on" oneof:"on,off" doc:"Whether heddle serve also executes runs; off when heddle worker does."`
	Runs    int      `env:"HEDDLE_WORKER_RUNS" envDefault:"10" range:"1..1000" doc:"Most runs this process executes at once."`
	Lease   Duration `env:"HEDDLE_LEASE" envDefault:"15s" range:"500ms..10m" doc:"How long a run belongs to a worker that no longer answers."`
	Renew   Duration `env:"HEDDLE_LEASE_RENEW" envDefault:"5s" range:"100ms..5m" doc:"How often a worker renews its leases; at most half of HEDDLE_LEASE."`
	Sweep   Duration `env:"HEDDLE_SWEEP" envDefault:"2s" range:"50ms..5m" doc:"How often expired leases and due runs are looked for."`
	Merge   Duration `env:"HEDDLE_MERGE" envDefault:"80ms" range:"0..1s" doc:"How long pieces of an answer's text are gathered before they are logged and sent as one; 0 sends each by itself."`
	// What may execute and stand in line at once, over all nodes.
	PerOrg          int `env:"HEDDLE_RUNS_PER_ORG" envDefault:"100" range:"1..100000" doc:"Most runs of an organisation that execute at once, over all processes; the others wait."`
	PerPerson       int `env:"HEDDLE_RUNS_PER_PERSON" envDefault:"25" range:"1..100000" doc:"Most runs of a person that execute at once, over all processes; the others wait."`
	QueuedPerOrg    int `env:"HEDDLE_QUEUE_PER_ORG" envDefault:"1000" range:"1..1000000" doc:"Most runs of an organisation that wait; further ones are refused (429)."`
	QueuedPerPerson int `env:"HEDDLE_QUEUE_PER_PERSON" envDefault:"200" range:"1..1000000" doc:"Most runs of a person that wait; further ones are refused (429)."`
	QueuedPerThread int `env:"HEDDLE_QUEUE_PER_THREAD" envDefault:"25" range:"1..10000" doc:"Most messages that wait on a thread; further ones are refused (429)."`
	// Strategy is a word of agents.Strategy.
	Strategy string `env:"HEDDLE_MULTITASK_STRATEGY" envDefault:"enqueue" oneof:"enqueue,reject,interrupt,rollback" doc:"What a new message does to a thread that is busy, where neither the request nor the assistant says: enqueue (it waits its turn), reject (409), interrupt (it stops what runs and goes on from there), rollback (it takes back what runs and goes on from before)."`
}

// Retention is how long what runs leave behind is kept. It must agree between
// nodes of one installation: whichever sweeps, sweeps for all.
type Retention struct {
	Checkpoints Lifetime `env:"HEDDLE_CHECKPOINT_LIFETIME" doc:"How long checkpoints are kept: minutes, or a number with a unit, as in 12h or 90d. Empty or 0: for ever."`
	Strategy    Strategy `env:"HEDDLE_CHECKPOINT_STRATEGY" oneof:"keep_latest,delete" doc:"What goes after HEDDLE_CHECKPOINT_LIFETIME, which it needs: with keep_latest (what is meant when it is empty) checkpoints as old, but never the newest state; with delete whole threads that nobody touched for as long."`
	Keep        int      `env:"HEDDLE_CHECKPOINT_KEEP" envDefault:"1" range:"1..1000000" doc:"How many of the newest checkpoints of each line of a thread stay with keep_latest, however old they are. They go in steps of 50, so more may stay."`
	Events      Lifetime `env:"HEDDLE_EVENT_LIFETIME" envDefault:"30d" doc:"How long the events of threads are kept: minutes, or a number with a unit. 0: for ever. What the stored state does not reflect yet stays."`
	Sweep       Duration `env:"HEDDLE_RETENTION_SWEEP" envDefault:"1h" range:"1m..24h" doc:"How often one of the nodes that execute runs looks for what is too old."`
}

// Strategy says what goes once checkpoints have lived their time.
type Strategy string

// Log is what the process says about itself.
type Log struct {
	Levels      LogLevels `env:"HEDDLE_LOG" envDefault:"info" doc:"Lowest level that is logged (debug, info, warn, error), then exceptions per package: error,agents=debug."`
	Format      LogFormat `env:"HEDDLE_LOG_FORMAT" envDefault:"json" devDefault:"text" oneof:"text,json" doc:"How log lines look: text for people, json for machines."`
	MetricsAddr string    `env:"HEDDLE_METRICS_ADDR" envDefault:"127.0.0.1:9090" devDefault:"" doc:"Reserved; this version does not use it yet. Address of /metrics on a port of its own. Empty, as in development: /metrics is served with everything else."`
}

// Duration is a span of time as Go writes it: 15s, 3m, 1h30m.
type Duration = time.Duration

// Signup says who may join without being asked first.
type Signup string

// The values of HEDDLE_SIGNUP.
const (
	SignupInvite Signup = "invite" // only with an invitation
	SignupDomain Signup = "domain" // also by a proven e-mail domain
	SignupOpen   Signup = "open"   // everyone, each with a new organisation
)

// LogFormat is how log lines look.
type LogFormat string

// The values of HEDDLE_LOG_FORMAT.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// Switch is a setting that is on or off.
type Switch string

// The values of a Switch.
const (
	On  Switch = "on"
	Off Switch = "off"
)

// On reports whether the switch is on.
func (s Switch) On() bool { return s == On }
