package present

import (
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/views/chat"
)

// Groups presents threads, newest first, under the day they were last used.
func Groups(threads []agents.Thread, assistants map[agents.AssistantID]string, active agents.ThreadID, now time.Time) []chat.Group {
	var groups []chat.Group
	for _, t := range threads {
		label := day(t.UpdatedAt, now)
		if len(groups) == 0 || groups[len(groups)-1].Label != label {
			groups = append(groups, chat.Group{Label: label})
		}
		g := &groups[len(groups)-1]
		g.Threads = append(g.Threads, chat.ListItem{
			ID: string(t.ID), Title: Title(t.Title), Assistant: assistants[t.Assistant], Updated: Time(t.UpdatedAt, now),
			State: listState(t.Status), Active: t.ID == active, Shared: t.Visibility == agents.VisibilityOrganisation,
		})
	}
	return groups
}

func listState(s agents.ThreadStatus) chat.ThreadState {
	switch s {
	case agents.ThreadBusy:
		return chat.ThreadBusy
	case agents.ThreadInterrupted:
		return chat.ThreadWaiting
	case agents.ThreadError:
		return chat.ThreadFailed
	default:
		return chat.ThreadIdle
	}
}

func day(t, now time.Time) string {
	today := now.Truncate(24 * time.Hour)
	switch {
	case !t.Before(today):
		return "Today"
	case !t.Before(today.AddDate(0, 0, -1)):
		return "Yesterday"
	case !t.Before(today.AddDate(0, 0, -7)):
		return "Last seven days"
	default:
		return t.Format("January 2006")
	}
}
