package app

import (
	"context"
	"errors"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/api"
	"github.com/heddle/heddle/handlers/channel"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/realtime"
	"github.com/heddle/heddle/store"
)

// streams is the API's view of the log and the hub.
type streams struct {
	*store.DB
	hub *realtime.Hub
}

// Follow implements api.Streams.
func (s streams) Follow(ctx context.Context, org auth.OrgID, thread agents.ThreadID) (api.Feed, error) {
	return s.follow(ctx, org, thread, realtime.Start{})
}

// FollowFrom implements api.Streams.
func (s streams) FollowFrom(ctx context.Context, org auth.OrgID, thread agents.ThreadID, after int64) (api.Feed, error) {
	return s.follow(ctx, org, thread, realtime.Start{After: after, HasAfter: true})
}

func (s streams) follow(ctx context.Context, org auth.OrgID, thread agents.ThreadID, from realtime.Start) (api.Feed, error) {
	sub, err := s.hub.SubscribeFrom(ctx, channel.ThreadTopic(org, thread), from)
	if err != nil {
		return nil, fault.Unavailable("The thread's log can't be followed right now.", err)
	}
	return feed{sub}, nil
}

// Live implements api.Streams.
func (s streams) Live(ctx context.Context, scope auth.Scope) (bool, error) {
	name := string(scope.Session)
	if scope.Key != "" {
		name = string(scope.Key)
	}
	live, err := s.LiveCredentials(ctx, []string{name}, clock.System{}.Now())
	return live[name], err
}

// feed is a subscription in the API's words.
type feed struct{ *realtime.Subscription }

// At implements api.Feed.
func (f feed) At() int64 { return f.Subscription.At.Seq }

// Next implements api.Feed.
func (f feed) Next(ctx context.Context) ([]api.Numbered, error) {
	deliveries, err := f.Subscription.Next(ctx)
	out := make([]api.Numbered, 0, len(deliveries))
	for _, d := range deliveries {
		if d.Seq > 0 {
			out = append(out, api.Numbered{Seq: d.Seq, Payload: d.Payload})
		}
	}
	if errors.As(err, new(*realtime.ResetError)) {
		err = api.ErrCut
	}
	return out, err
}
