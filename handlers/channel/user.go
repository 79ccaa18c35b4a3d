package channel

import (
	"context"
	"encoding/json"

	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/realtime/socket"
)

// User is the channel of the topic user: notices for one person, such as
// {"kind":"thread.changed","thread_id":…}. They are hints: a client that missed
// one reads the page anew.
type User struct{}

// Join implements socket.Channel: everybody may watch their own topic.
func (User) Join(_ context.Context, id socket.Identity, _ string, payload json.RawMessage) (socket.Joined, error) {
	joined, err := socket.ParseJoin(payload)
	if err != nil {
		return socket.Joined{}, err
	}
	if joined.Format != socket.FormatEnvelope {
		return socket.Joined{}, fault.Invalid("format", "must be envelope on this topic")
	}
	scope := scopeOf(id)
	if err := scope.Check(); err != nil {
		return socket.Joined{}, err
	}
	joined.HubTopic = UserTopic(scope.Org, scope.User)
	return joined, nil
}

// Handle implements socket.Channel: nothing can be pushed here.
func (User) Handle(context.Context, socket.Member, string, json.RawMessage) (any, error) {
	return nil, fault.Invalid("event", "this topic takes no pushes")
}

// Leave implements socket.Channel.
func (User) Leave(context.Context, socket.Member) {}
