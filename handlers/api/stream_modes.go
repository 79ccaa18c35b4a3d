package api

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/heddle/heddle/internal/fault"
)

// streamMode is a way to look at a run: a word of stream_mode.
type streamMode int

// The modes, in the order in which the frames of one envelope are sent. Their
// numbers are part of frames' ids: new ones go to the end.
const (
	modeCustom streamMode = iota + 1
	modeTuple
	modeMessages
	modeEvents
	modeTasks
	modeUpdates
	modeValues
	modeCheckpoints
	modeDebug
	// What newer clients may ask for beside the others (agentserver 4).
	modeTools
	modeLifecycle
)

// streamWords are the names of modes in requests.
var streamWords = [...]struct {
	word string
	mode streamMode
}{
	{"values", modeValues}, {"updates", modeUpdates}, {"messages-tuple", modeTuple}, {"messages", modeMessages}, {"custom", modeCustom},
	{"events", modeEvents}, {"debug", modeDebug}, {"tasks", modeTasks}, {"checkpoints", modeCheckpoints}, {"tools", modeTools},
	{"lifecycle", modeLifecycle},
}

// streamModes is a set of modes.
type streamModes map[streamMode]bool

func (m streamModes) any(of ...streamMode) bool {
	return slices.ContainsFunc(of, func(one streamMode) bool { return m[one] })
}

// parseModes reads a word or a list of words; values where there is none.
func parseModes(raw json.RawMessage) (streamModes, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return streamModes{modeValues: true}, nil
	}
	var words []string
	var one string
	if json.Unmarshal(raw, &one) == nil {
		words = []string{one}
	} else if json.Unmarshal(raw, &words) != nil {
		return nil, fault.Invalid("stream_mode", "must be a mode or a list of modes")
	}
	return modesOf(words)
}

func modesOf(words []string) (streamModes, error) {
	out := streamModes{}
	for _, word := range words {
		at := slices.IndexFunc(streamWords[:], func(w struct {
			word string
			mode streamMode
		}) bool {
			return w.word == word
		})
		if at < 0 {
			return nil, fault.Invalid("stream_mode", "must be of "+knownModes())
		}
		out[streamWords[at].mode] = true
	}
	if len(out) == 0 {
		out[modeValues] = true
	}
	return out, nil
}

func knownModes() string {
	words := make([]string, len(streamWords))
	for i, w := range streamWords {
		words[i] = w.word
	}
	return strings.Join(words, ", ")
}
