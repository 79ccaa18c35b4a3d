// Package config reads Heddle's settings from the environment, once, at start:
// every variable typed, with its default and its explanation in one place.
//
// What holds after [Load] returned no error: each value is inside its range;
// the rules that span several variables hold; every HEDDLE_ name in the
// environment is one we know; a secret cannot be printed by accident. All
// mistakes are reported together, so that an operator mends them in one go.
//
// Only app and cmd may import config. Every other package takes an Options
// struct of its own and never looks at the environment.
package config

import (
	"os"
	"strings"
)

// Config is every setting of one Heddle process. It does not change after
// [Load] and may be read by many goroutines.
type Config struct {
	Server    Server    `group:"Server"`
	Storage   Storage   `group:"Storage"`
	SignIn    SignIn    `group:"Sign-in"`
	Models    Models    `group:"Models"`
	Mail      Mail      `group:"Mail"`
	Network   Network   `group:"Network"`
	Worker    Worker    `group:"Worker"`
	Retention Retention `group:"Retention"`
	Log       Log       `group:"Log and metrics"`

	sources map[string]Source
}

// Options says where [Load] reads from. The zero value is what a command
// wants: the process's environment and ./.env.
type Options struct {
	// Environ holds NAME=VALUE lines; nil means os.Environ().
	Environ []string
	// DotEnv is the path of the .env file, read in development only; empty
	// means ".env" in the working directory. An absent file is no mistake.
	DotEnv string
}

// Load reads, checks and returns the settings. Its error is an [*Error] that
// lists every mistake; the Config is then returned as well, for `heddle
// config` to show, and must not be used to start anything.
func Load(opts Options) (*Config, error) {
	if opts.Environ == nil {
		opts.Environ = os.Environ()
	}
	if opts.DotEnv == "" {
		opts.DotEnv = ".env"
	}
	var problems problems
	values := gather(opts, &problems)

	cfg := &Config{sources: values.sources}
	cfg.parse(values.text, &problems)
	cfg.derive()
	cfg.check(&problems)
	return cfg, problems.err()
}

// derive fills what follows from other values and cannot stand in a tag.
func (c *Config) derive() {
	if c.Server.BaseURL == "" && c.Server.Env.Development() {
		c.Server.BaseURL = LocalURL(c.Server.Addr)
	}
	c.Server.BaseURL = strings.TrimRight(c.Server.BaseURL, "/")
	c.Models.OpenAIBaseURL = strings.TrimRight(c.Models.OpenAIBaseURL, "/")
	c.Models.AnthropicBaseURL = strings.TrimRight(c.Models.AnthropicBaseURL, "/")
}

// openAIAddress is the default of OPENAI_BASE_URL.
const openAIAddress = "https://api.openai.com/v1"

// OpenAI reports whether there is a server of OpenAI's protocol to ask:
// OpenAI's own needs a key, another one is meant by being named.
func (m Models) OpenAI() bool { return m.OpenAIKey.Set() || m.OpenAIBaseURL != openAIAddress }
