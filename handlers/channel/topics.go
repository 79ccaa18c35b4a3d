// Package channel stands behind the topics of the socket: who may join, what a
// push does, and how envelopes become frames and patches.
//
// A wire topic never names an organisation: it comes from the socket's
// identity. The hub's topic does, so two organisations that use the same id
// never meet. app registers the channels; the package imports neither store nor
// redis.
package channel

import (
	"strings"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// The events of the frames clients see.
const (
	EnvelopeEvent = "envelope"
	NoticeEvent   = "notice"
)

// ThreadTopic is the hub topic of a thread.
func ThreadTopic(org auth.OrgID, thread agents.ThreadID) string {
	return "org:" + string(org) + ":thread:" + string(thread)
}

// ParseThreadTopic reads a hub topic back; ok is false for other topics.
func ParseThreadTopic(topic string) (org auth.OrgID, thread agents.ThreadID, ok bool) {
	parts := strings.Split(topic, ":")
	if len(parts) != 4 || parts[0] != "org" || parts[2] != "thread" {
		return "", "", false
	}
	return auth.OrgID(parts[1]), agents.ThreadID(parts[3]), true
}

// ReviewsTopic is the hub topic of an organisation's queue of reviews.
func ReviewsTopic(org auth.OrgID) string { return "org:" + string(org) + ":reviews" }

// UserTopic is the hub topic of one person in one organisation.
func UserTopic(org auth.OrgID, user auth.UserID) string {
	return "org:" + string(org) + ":user:" + string(user)
}
