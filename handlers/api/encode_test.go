package api

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/heddle/heddle/agents"
)

func BenchmarkHistoryOfALongThread(b *testing.B) {
	states := make([]agents.State, 10)
	var messages []agents.Message
	for i := range 1000 {
		role := agents.RoleUser
		if i%2 == 1 {
			role = agents.RoleAssistant
		}
		messages = append(messages, agents.Message{ID: agents.MessageID("m" + strconv.Itoa(i)), Role: role, Text: strings.Repeat("x", 130)})
	}
	for i := range states {
		states[i] = agents.State{Messages: messages[:1000-i], Head: &agents.Checkpoint{Source: agents.SourceLoop, CreatedAt: time.Now()}}
	}
	b.ReportAllocs()
	for b.Loop() {
		var out bytes.Buffer
		e := newEncoder()
		if err := list(&out, states, func(s agents.State) error { return e.state(&out, "t", s, selection{}) }); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(out.Len()))
	}
}
