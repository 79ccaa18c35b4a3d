package api

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/fault"
)

// knownConfig are the keys of a run's config that are checked (LG-20).
type knownConfig struct {
	MultitaskStrategy string `json:"multitask_strategy"`
	RecursionLimit    *int   `json:"recursion_limit"`
	Configurable      struct {
		Temperature       *float64 `json:"temperature"`
		MaxTokens         *int     `json:"max_tokens"`
		MultitaskStrategy string   `json:"multitask_strategy"`
	} `json:"configurable"`
}

// identityNames are words a client must not use to choose who it acts for; they
// are taken out of what is stored, since tools read the scope only.
var identityNames = []string{"user_id", "org_id", "tenant_id", "organization_id", "organisation_id",
	"langgraph_auth_user", "langgraph_auth_user_id", "langgraph_auth_permissions"}

func (in createRun) config() (knownConfig, error) {
	var known knownConfig
	if len(in.Config) == 0 || string(in.Config) == "null" {
		return known, nil
	}
	if err := json.Unmarshal(in.Config, &known); err != nil {
		return known, fault.Invalid("config", "must be an object whose known keys have the right types")
	}
	broken := map[string]string{}
	if t := known.Configurable.Temperature; t != nil && !(*t >= 0 && *t <= 2) {
		broken["config.configurable.temperature"] = "must be between 0 and 2"
	}
	if m := known.Configurable.MaxTokens; m != nil && (*m < 100 || *m > 10_000) {
		broken["config.configurable.max_tokens"] = "must be between 100 and 10000"
	}
	if len(broken) > 0 {
		return known, fault.InvalidFields(broken)
	}
	return known, nil
}

// strategy reads the run field and, as an alias, the two places inside config.
func (in createRun) strategy(known knownConfig) (agents.Strategy, error) {
	word := in.MultitaskStrategy
	for _, alias := range []string{known.MultitaskStrategy, known.Configurable.MultitaskStrategy} {
		if word == "" {
			word = alias
		}
	}
	return agents.ParseStrategy("multitask_strategy", word)
}

// withoutIdentity keeps a request for the record, without the names of
// identity that its config may carry.
func withoutIdentity(body []byte) json.RawMessage {
	var all map[string]json.RawMessage
	if json.Unmarshal(body, &all) != nil {
		return nil
	}
	for _, place := range []string{"config", "context"} {
		all[place] = strip(all[place], 3)
		if all[place] == nil {
			delete(all, place)
		}
	}
	out, err := json.Marshal(all)
	if err != nil {
		return nil
	}
	return out
}

func strip(raw json.RawMessage, depth int) json.RawMessage {
	var m map[string]json.RawMessage
	if depth == 0 || json.Unmarshal(raw, &m) != nil || m == nil {
		return raw
	}
	for _, name := range identityNames {
		delete(m, name)
	}
	for k, v := range m {
		m[k] = strip(v, depth-1)
	}
	out, err := json.Marshal(m)
	if err != nil {
		return raw
	}
	return out
}

// given reads the run's context, without the names of identity: what config holds
// as configurable, and what context says in its place.
func (in createRun) given() (map[string]json.RawMessage, error) {
	var config struct {
		Configurable map[string]json.RawMessage `json:"configurable"`
	}
	if len(in.Config) > 0 && json.Unmarshal(in.Config, &config) != nil {
		return nil, fault.Invalid("config.configurable", "must be an object")
	}
	out := config.Configurable
	for name := range out {
		if ours(name) {
			delete(out, name)
		}
	}
	var context map[string]json.RawMessage
	if absent(in.Context) {
		context = nil
	} else if json.Unmarshal(in.Context, &context) != nil {
		return nil, fault.Invalid("context", "must be an object")
	}
	for name, value := range context {
		if out == nil {
			out = map[string]json.RawMessage{}
		}
		out[name] = value
	}
	for _, name := range identityNames {
		delete(out, name)
	}
	return out, nil
}

// ours reports whether a name of configurable is the protocol's own: no graph asks
// for it.
func ours(name string) bool {
	return strings.HasPrefix(name, "__") || slices.Contains([]string{
		"thread_id", "run_id", "assistant_id", "graph_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map", "multitask_strategy"}, name)
}
