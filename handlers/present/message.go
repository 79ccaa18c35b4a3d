package present

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/transcript"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/views/chat"
)

// Messages presents the entries of a transcript, and the message of a run that
// is about to start.
func (p Thread) Messages(t *transcript.Transcript) []chat.Message {
	entries := Entries(t)
	out := make([]chat.Message, len(entries))
	for i, e := range entries {
		out[i] = p.Message(e, continues(entries, i))
	}
	return out
}

// continues reports whether an entry goes on where the assistant's last one
// stopped, as after a tool call. A run that goes on from a pause is another one.
func continues(entries []*transcript.Entry, i int) bool {
	return i > 0 && entries[i].Role == agents.RoleAssistant && entries[i-1].Role == agents.RoleAssistant
}

// PerPage is how many messages a page shows at first; older ones are a link
// away, so that long threads stay fast.
const PerPage = 100

// Window cuts the newest messages, or those before a given one, and gives the
// address of the page before them, "" at the start.
func Window(all []chat.Message, thread, before string) (page []chat.Message, earlier string) {
	end := len(all)
	if before != "" {
		for i, m := range all {
			if m.ID == before {
				end = i
			}
		}
	}
	start := max(0, end-PerPage)
	if start > 0 {
		earlier = "/threads/" + thread + "?before=" + url.QueryEscape(all[start].ID)
	}
	return all[start:end], earlier
}

// Entries lists what stands in the thread: what was said, and the messages of
// the run that is about to start.
func Entries(t *transcript.Transcript) []*transcript.Entry {
	out := t.Entries
	if t.Activity.Kind != transcript.Starting {
		return out
	}
	for _, q := range t.Queue {
		if q.Run != t.Activity.Run {
			continue
		}
		for _, m := range q.Messages {
			if m.Role == agents.RoleUser && t.Entry(m.ID) == nil {
				out = append(out[:len(out):len(out)], &transcript.Entry{
					ID: m.ID, Role: m.Role, Text: m.Text, State: transcript.EntryComplete, Run: q.Run, Author: m.Author,
					CreatedAt: m.CreatedAt, Changed: max(t.QueueChanged, t.ActivityChanged),
				})
			}
		}
	}
	return out
}

// Message presents one entry; continued as in [chat.Message].
func (p Thread) Message(e *transcript.Entry, continued bool) chat.Message {
	m := chat.Message{ID: string(e.ID), At: Time(e.CreatedAt, p.Now()), Continued: continued}
	if e.Role == agents.RoleUser {
		m.Role, m.Text, m.State = chat.User, e.Text, chat.Complete
		m.Author = p.Names[auth.UserID(e.Author)]
		if m.Author == "" {
			m.Author = "Member"
		}
		return m
	}
	m.Role, m.Author = chat.Assistive, p.Assistant
	m.Blocks = chat.Blocks(p.Markdown, e.Text)
	m.Steps = p.Steps(e)
	switch e.State {
	case transcript.EntryStreaming:
		m.State = chat.Streaming
	case transcript.EntryStopped:
		m.State, m.Source = chat.Stopped, e.Text
	default:
		m.State, m.Source, m.Usage = chat.Complete, e.Text, usage(e)
	}
	return m
}

func usage(e *transcript.Entry) string {
	var parts []string
	if e.Model != "" {
		parts = append(parts, e.Model)
	}
	if d := duration(e.DurationMS); d != "" {
		parts = append(parts, d)
	}
	if e.Usage != nil && e.Usage.Input+e.Usage.Output > 0 {
		parts = append(parts, fmt.Sprintf("%d tokens", e.Usage.Input+e.Usage.Output))
	}
	return strings.Join(parts, " · ")
}

// Steps presents the tool calls of an entry.
func (p Thread) Steps(e *transcript.Entry) []chat.Step {
	out := make([]chat.Step, len(e.Calls))
	for i, c := range e.Calls {
		out[i] = p.step(c)
	}
	return out
}

// running are the words for a tool at work; others go by their name.
var running = map[string]string{
	"calculator": "Calculating", "current_time": "Reading the clock", "weather": "Checking the weather",
	"search": "Searching documents", "remember": "Remembering", "recall": "Recalling",
}

func runningWords(tool string) string {
	if words, ok := running[tool]; ok {
		return words
	}
	return "Running " + tool
}

func (p Thread) step(c *transcript.Call) chat.Step {
	s := chat.Step{CallID: c.ID, Args: setOut(c.Args), Duration: duration(c.DurationMS), Review: p.review(c.Review)}
	switch c.State {
	case transcript.CallWaiting:
		s.State, s.Verb, s.Object, s.Outcome = chat.StepWaiting, c.Name, object(c.Args), "waiting for review"
		return s
	case transcript.CallDone:
		s.State, s.Result, s.Links = chat.StepDone, setOut(c.Result), links(c.Data)
	case transcript.CallFailed:
		s.State, s.Error = chat.StepFailed, c.Result
		if c.Summary == "Stopped" {
			s.State = chat.StepStopped
		}
		if c.Review != nil && !c.Review.Status.Runs() {
			s.State, s.Verb, s.Object, s.Outcome = chat.StepStopped, c.Name, object(c.Args), "not run"
			s.Error, s.Result = "", c.Result
			return s
		}
	default:
		s.State, s.Verb, s.Object = chat.StepRunning, runningWords(c.Name), object(c.Args)
		return s
	}
	s.Verb = c.Summary
	if s.Verb == "" {
		s.Verb = "Ran " + c.Name
	}
	if at := strings.LastIndex(s.Verb, ": "); at > 0 {
		s.Verb, s.Outcome = s.Verb[:at], s.Verb[at+2:]
	}
	return s
}

// object is the first text among the arguments, for a call that has no summary
// yet.
func object(args string) string {
	var m map[string]any
	if json.Unmarshal([]byte(args), &m) != nil {
		return ""
	}
	for _, name := range []string{"query", "expression", "place", "city", "zone", "fact", "to"} {
		if text, ok := m[name].(string); ok {
			if name == "to" {
				return "to " + text
			}
			return text
		}
	}
	return ""
}

// setOut indents JSON for reading; other text stays.
func setOut(text string) string {
	var b bytes.Buffer
	if json.Indent(&b, []byte(text), "", "  ") != nil {
		return text
	}
	return b.String()
}

// links finds named addresses in a result's data: the hits of a search.
func links(data json.RawMessage) []chat.Link {
	var hits []struct {
		Title string `json:"title"`
		URL   string `json:"url"`
	}
	if json.Unmarshal(data, &hits) != nil {
		return nil
	}
	var out []chat.Link
	for _, h := range hits {
		if strings.HasPrefix(h.URL, "/") && !strings.HasPrefix(h.URL, "//") && h.Title != "" {
			out = append(out, chat.Link{Href: h.URL, Label: h.Title})
		}
	}
	return out
}
