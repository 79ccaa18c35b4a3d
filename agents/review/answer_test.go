package review_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/review"
	"github.com/heddle/heddle/internal/fault"
)

func request(allowed ...agents.DecisionKind) agents.Review {
	if len(allowed) == 0 {
		allowed = agents.Decisions()
	}
	return agents.Review{ID: "r", Tool: "send", Args: json.RawMessage(`{"to":"bob"}`), Allowed: allowed, Status: agents.ReviewOpen}
}

func TestClientsSayTheSameInTheirOwnForms(t *testing.T) {
	t.Parallel()
	for kind, forms := range map[agents.DecisionKind][]string{
		agents.Approve: {`{"decisions":[{"type":"approve"}]}`, `[{"type":"accept","args":null}]`, `{"type":"approve"}`, `[{"type":"approve"}]`},
		agents.Edit: {`{"decisions":[{"type":"edit","edited_action":{"name":"send","args":{"to":"eve"}}}]}`,
			`[{"type":"edit","args":{"action":"send","args":{"to":"eve"}}}]`},
		agents.Reject:  {`{"decisions":[{"type":"reject","message":"no"}]}`, `[{"type":"ignore","args":"no"}]`},
		agents.Respond: {`{"decisions":[{"type":"respond","message":"no"}]}`, `[{"type":"response","args":"no"}]`},
	} {
		for _, form := range forms {
			got, err := review.ParseAnswer(json.RawMessage(form), []agents.Review{request()})
			require.NoError(t, err, form)
			require.Len(t, got, 1)
			require.Equal(t, kind, got[0].Kind, form)
			switch kind {
			case agents.Edit:
				require.JSONEq(t, `{"to":"eve"}`, string(got[0].Args), form)
			case agents.Reject, agents.Respond:
				require.Equal(t, "no", got[0].Text, form)
			default:
			}
		}
	}
	ignored, err := review.ParseAnswer(json.RawMessage(`[{"type":"ignore","args":null}]`), []agents.Review{request()})
	require.NoError(t, err)
	require.Empty(t, ignored[0].Text)
}

func TestAnAnswerThatIsNoDecisionIsRefusedByName(t *testing.T) {
	t.Parallel()
	for form, rule := range map[string]string{
		`null`: "this interrupt is a review", `"yes"`: "this interrupt is a review", `{}`: "this interrupt is a review", ``: "this interrupt is a review",
		`[]`: "must hold 1 decisions", `[{"type":"approve"},{"type":"approve"}]`: "must hold 1 decisions", `{"decisions":[]}`: "must hold 1 decisions",
		`[{"type":"shrug"}]`: "must be approve, edit, reject or respond", `[{"type":"edit"}]`: "must be an object with action and args",
		`[{"type":"edit","args":{"action":"other","args":{}}}]`: "must stay send", `{"decisions":[{"type":"edit","edited_action":{"name":"send"}}]}`: "are required",
		`[{"type":"respond","message":" "}]`: "must not be empty", `[{"type":"reject","message":"` + strings.Repeat("x", 4001) + `"}]`: "at most 4000",
	} {
		_, err := review.ParseAnswer(json.RawMessage(form), []agents.Review{request()})
		require.True(t, fault.Is(err, fault.KindInvalid), "%.60s: %v", form, err)
		require.Contains(t, fault.Public(err), rule, "%.60s", form)
	}
	_, err := review.ParseAnswer(json.RawMessage(`[{"type":"respond","message":"x"}]`), []agents.Review{request(agents.Approve)})
	require.Contains(t, fault.Public(err), "policy allows")
}

func FuzzParseAnswer(f *testing.F) {
	for _, seed := range []string{`{"decisions":[{"type":"approve"}]}`, `[{"type":"edit","args":{"action":"send","args":{"to":1}}}]`, `{"type":"reject"}`, `[`, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := review.ParseAnswer(raw, []agents.Review{request(agents.Approve, agents.Edit)})
		if err != nil {
			require.True(t, fault.Is(err, fault.KindInvalid))
			return
		}
		require.Len(t, got, 1)
		require.Contains(t, []agents.DecisionKind{agents.Approve, agents.Edit}, got[0].Kind)
		require.Equal(t, agents.ReviewID("r"), got[0].Review)
	})
}
