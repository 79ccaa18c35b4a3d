// Package effect is what the tools of a chaos node and the tool server of the
// protocol say to each other. Both import it.
package effect

// The tools of the load: one reads, one honours the idempotency key, one does
// not know it.
const (
	Look  = "look"
	Keyed = "post_keyed"
	Plain = "post_plain"
)

// Request is one call, as a tool sends it.
type Request struct {
	Tool string `json:"tool"`
	// Key names the call; only the keyed tool's server heeds it, the other's
	// notes it for the protocol's judges.
	Key    string `json:"key"`
	Org    string `json:"org"`
	Thread string `json:"thread"`
	// Tag names the run of the load, Canary the organisation it belongs to.
	Tag    string `json:"tag"`
	Canary string `json:"canary"`
}

// Answer is what the model reads.
type Answer struct {
	Content string `json:"content"`
}
