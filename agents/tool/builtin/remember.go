package builtin

import (
	"context"
	"crypto/sha256"
	_ "embed" // the text the model reads
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/tool"
)

//go:embed remember.md
var rememberText string

const rememberName = "remember"

type rememberArgs struct {
	Fact string `json:"fact" jsonschema:"one short sentence, such as: I like tea"`
}

func newRemember(m Memory) (tool.Tool, error) {
	run := func(ctx context.Context, inv tool.Invocation, a rememberArgs) (tool.Result, error) {
		said := strings.Join(strings.Fields(a.Fact), " ")
		value, err := json.Marshal(fact{Fact: said})
		if err != nil {
			return tool.Result{}, fmt.Errorf("writing down a fact: %w", err)
		}
		from := agents.Source{By: inv.Scope.User, Run: agents.RunID(inv.RunID), Thread: agents.ThreadID(inv.ThreadID), Tool: rememberName}
		if err := m.Put(ctx, inv.Scope, FactsNamespace(inv.Scope), factKey(said), value, from); err != nil {
			return tool.Result{}, fmt.Errorf("keeping a fact: %w", err)
		}
		return tool.Text("Kept: "+said, "Remembered something about you").WithData(fact{Fact: said})
	}
	return tool.New(tool.Spec{
		Name: rememberName, Title: "Remember a fact", Description: rememberText,
		Effect: tool.EffectWrite, Review: tool.ReviewNever, Idempotent: true,
		Consequence: "One sentence about the person is kept for all their threads.",
	}, run, lengths("fact", 1, 500))
}

// factKey is the same for the same fact, so that telling it twice, or an
// interrupted call repeated, keeps it once.
func factKey(said string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(strings.TrimRight(said, ".!"))))
	return hex.EncodeToString(sum[:12])
}
