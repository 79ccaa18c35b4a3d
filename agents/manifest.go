package agents

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
)

// Manifest says what a run was executed with: names and fingerprints, never
// contents or secrets. What a run doesn't use is absent.
type Manifest struct {
	// App is the version of the program, Graph the graph's name.
	App   string `json:"app"`
	Graph string `json:"graph"`
	// GraphHash is the fingerprint of the graph's declaration, ConfigHash that of
	// the assistant's configuration.
	GraphHash  string `json:"graph_hash"`
	ConfigHash string `json:"config_hash"`
	// Channels gives the label of each channel's reducer: a thread whose values
	// other reducers made is not resumed.
	Channels map[string]string `json:"channels,omitempty"`
	Model    string            `json:"model,omitempty"`
	// Memory lists the kinds of memory the run can reach.
	Memory []string `json:"memory,omitempty"`
	// Strategy is what new input does to the thread while the run is open.
	Strategy Strategy `json:"strategy,omitempty"`
	// Checkpointer names the storage of steps, Clock where time comes from.
	Checkpointer string `json:"checkpointer"`
	Clock        string `json:"clock"`
	// Parallel is how many tasks of a step run at once.
	Parallel int `json:"parallel"`
}

// MemoryItems is the kind of memory that tools remember and recall.
const MemoryItems = "items"

// ConfigHash is the fingerprint of an assistant's configuration: 64 hexadecimal
// digits of SHA-256 over its JSON.
func ConfigHash(c AssistantConfig) string {
	raw, err := json.Marshal(c)
	if err != nil {
		panic(err) // it was read from JSON: can't happen
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// MemoryKinds lists the kinds of memory that a run of the assistant can reach.
func (c AssistantConfig) MemoryKinds() []string {
	on := c.Defaults()
	if !*on.EnableMemory || !*on.EnableTools {
		return nil
	}
	for _, t := range memoryTools {
		if slices.Contains(on.Tools, t) {
			return []string{MemoryItems}
		}
	}
	return nil
}
