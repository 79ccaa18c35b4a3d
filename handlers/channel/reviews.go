package channel

import (
	"context"
	"encoding/json"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/realtime/socket"
)

// Decider takes decisions on requests for review.
type Decider interface {
	Decide(ctx context.Context, scope auth.Scope, decisions []agents.Decision) (agents.Decided, error)
}

// Reviews is the channel of the topic reviews: notices that the organisation's
// queue looks different now. They are hints, as those of the topic user.
type Reviews struct{ decide Decider }

// NewReviews makes the channel.
func NewReviews(d Decider) *Reviews { return &Reviews{decide: d} }

// Join implements socket.Channel: reviewers may watch the queue.
func (r *Reviews) Join(_ context.Context, id socket.Identity, _ string, payload json.RawMessage) (socket.Joined, error) {
	joined, err := socket.ParseJoin(payload)
	if err != nil {
		return socket.Joined{}, err
	}
	if joined.Format != socket.FormatEnvelope {
		return socket.Joined{}, fault.Invalid("format", "must be envelope on this topic")
	}
	scope := scopeOf(id)
	if err := scope.Require(auth.PermReview); err != nil {
		return socket.Joined{}, err
	}
	joined.HubTopic = ReviewsTopic(scope.Org)
	return joined, nil
}

// Handle implements socket.Channel. Push: "decide" {"review_id", "decision",
// "text"?, "args"?} answers {"status", "run_id"}.
func (r *Reviews) Handle(ctx context.Context, m socket.Member, event string, payload json.RawMessage) (any, error) {
	if event != "decide" {
		return nil, fault.Invalid("event", "must be decide")
	}
	var in struct {
		Review   agents.ReviewID     `json:"review_id"`
		Decision agents.DecisionKind `json:"decision"`
		Text     string              `json:"text"`
		Args     json.RawMessage     `json:"args"`
	}
	if err := decode(payload, &in); err != nil {
		return nil, err
	}
	done, err := r.decide.Decide(ctx, scopeOf(m.Identity), []agents.Decision{{Review: in.Review, Kind: in.Decision, Text: in.Text, Args: in.Args}})
	if err != nil {
		return nil, err
	}
	return map[string]any{"status": done.Reviews[0].Status, "run_id": done.Resumed}, nil
}

// Leave implements socket.Channel.
func (r *Reviews) Leave(context.Context, socket.Member) {}
