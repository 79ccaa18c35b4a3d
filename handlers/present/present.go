// Package present turns the domain into view models: what a thread's transcript
// looks like, in words, times and blocks. Pages and live patches both go
// through it, so a patch never shows anything else than a reload would.
//
// It performs no I/O but the projector's one load. handlers and app import it.
package present

import (
	"fmt"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/transcript"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/views/chat"
	"github.com/heddle/heddle/views/markdown"
	"github.com/heddle/heddle/views/ui"
)

// Thread presents the parts of one thread's page. It is the same for every
// viewer.
type Thread struct {
	// ID is the thread's id, Assistant the name of who answers.
	ID, Assistant string
	// Names are what people are called.
	Names    map[auth.UserID]string
	Markdown *markdown.Renderer
	Now      func() time.Time
}

// Time presents a moment; the page's script keeps its words true.
func Time(t, now time.Time) ui.Time {
	if t.IsZero() {
		t = now
	}
	t = t.UTC()
	return ui.Time{
		ISO: t.Format(time.RFC3339), Text: ago(now.Sub(t), t), Title: t.Format("2 January 2006, 15:04 UTC"), Relative: true,
	}
}

// Date presents a day, past or to come; it needs no script to stay true.
func Date(t time.Time) ui.Time {
	t = t.UTC()
	return ui.Time{ISO: t.Format(time.RFC3339), Text: t.Format("2 Jan 2006"), Title: t.Format("2 January 2006, 15:04 UTC")}
}

func ago(d time.Duration, t time.Time) string {
	switch {
	case d < 5*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return t.Format("2 Jan 2006")
	}
}

// duration is a short span for people.
func duration(ms int64) string {
	switch {
	case ms <= 0:
		return ""
	case ms < 100:
		return fmt.Sprintf("%d ms", ms)
	case ms < 60_000:
		return fmt.Sprintf("%.1f s", float64(ms)/1000)
	default:
		return fmt.Sprintf("%d min", ms/60_000)
	}
}

// Title is what a thread is called; one that nobody wrote to has no title.
func Title(title string) string {
	if title == "" {
		return "New thread"
	}
	return title
}

// Status presents what the thread is doing.
func (p Thread) Status(a transcript.Activity) chat.Status {
	s := chat.Status{Assistant: p.Assistant, Since: Time(a.Since, p.Now())}
	switch a.Kind {
	case transcript.Starting:
		s.State, s.Text = chat.RunWorking, "Starting"
	case transcript.Working:
		s.State, s.Text = chat.RunWorking, "Thinking"
		if a.Tool != "" {
			s.Text = runningWords(a.Tool)
		}
		if a.Writing {
			s.Text = "Writing"
		}
	case transcript.Continuing:
		s.State, s.Text = chat.RunContinuing, "Continuing after an interruption"
	case transcript.Failed:
		s.State, s.Text = chat.RunFailed, a.Error
		if s.Text == "" {
			s.Text = "The assistant could not finish this answer."
		}
		for _, try := range a.Attempts {
			s.Attempts = append(s.Attempts, chat.Attempt{Number: try.Attempt, At: Time(try.EndedAt, p.Now()), Worker: try.Worker, Why: whyWords(try.Why)})
		}
	case transcript.Waiting:
		s.State, s.Text = chat.RunWaiting, "Waiting for review"
	default:
		s.State = chat.RunIdle
	}
	return s
}

// whyWords says how an attempt ended.
func whyWords(why agents.AttemptEnd) string {
	switch why {
	case agents.AttemptProcessGone:
		return "its worker was gone"
	case agents.AttemptLeaseExpired:
		return "its worker did not renew the lease"
	case agents.AttemptPanic:
		return "the assistant’s code crashed"
	case agents.AttemptTimeout:
		return "it took too long"
	default:
		return "it failed"
	}
}

// StatusOf presents what a thread is doing, and who has to act if it waits.
func (p Thread) StatusOf(t *transcript.Transcript) chat.Status {
	s := p.Status(t.Activity)
	if s.State == chat.RunWaiting && len(t.Questions) > 0 && !underReview(t) {
		s.Text = "Waiting for your answer"
	}
	return s
}

// Queue presents the runs that wait behind the one that works. The one that is
// about to start is no queue: its message stands in the thread.
func (p Thread) Queue(t *transcript.Transcript) []chat.Queued {
	var out []chat.Queued
	for _, q := range t.Queue {
		if t.Activity.Kind == transcript.Starting && q.Run == t.Activity.Run {
			continue
		}
		item := chat.Queued{RunID: string(q.Run), At: ui.Time{}, Waits: t.Activity.Kind == transcript.Waiting}
		for _, m := range q.Messages {
			item.Text = m.Text
			item.At = Time(m.CreatedAt, p.Now())
		}
		out = append(out, item)
	}
	return out
}
