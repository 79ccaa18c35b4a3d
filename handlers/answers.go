package handlers

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/agents/transcript"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/api"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/views/chat"
)

// Answer is POST /threads/:thread/answer: what whoever may write says to a
// question of the assistant. Its fields are interrupt_id, kind (approve, reject,
// text or json) and text, or text:ID where several questions stand on the page.
func (t *Threads) Answer(c *fiber.Ctx) error {
	thread, question := threadParam(c), utils.CopyString(c.FormValue("interrupt_id"))
	kind, text := utils.CopyString(c.FormValue("kind")), utils.CopyString(c.FormValue("text"))
	if text == "" {
		text = utils.CopyString(c.FormValue(chat.AnswerField(question)))
	}
	text = strings.ReplaceAll(text, "\r\n", "\n")
	err := t.answer(c.UserContext(), middleware.Scope(c), thread, question, kind, text)
	if err != nil && comesBack(c, err) {
		return t.show(c, middleware.Status(fault.KindOf(err)), "", nil, func(th *chat.Thread) {
			for i := range th.Questions {
				if q := &th.Questions[i]; q.ID == question {
					q.Answer, q.Error = text, sentences(fault.FieldsOf(err))["text"]
					if q.Error == "" {
						q.Error = fault.Public(err)
					}
				}
			}
		})
	}
	if err != nil {
		return err
	}
	return done(c, "/threads/"+string(thread))
}

func (t *Threads) answer(ctx context.Context, scope auth.Scope, thread agents.ThreadID, question, kind, text string) error {
	view, err := t.store.View(ctx, scope, thread)
	if err != nil {
		return err
	}
	folded, err := present.Fold(view)
	if err != nil {
		return err
	}
	asked, open := openQuestion(folded, question)
	if !open {
		return agents.ErrNotInterrupted
	}
	value, err := answerValue(asked, kind, text)
	if err != nil {
		return err
	}
	answers, err := json.Marshal(map[string]json.RawMessage{question: value})
	if err != nil {
		return fault.Invalid("text", "must be valid JSON").WithCause(err)
	}
	_, err = t.runs.Resume(ctx, scope, thread, run.Command{Answer: answers})
	return err
}

func openQuestion(t *transcript.Transcript, id string) (transcript.Question, bool) {
	for _, q := range t.Questions {
		if q.ID == id {
			return q, true
		}
	}
	return transcript.Question{}, false
}

// answerDecision is one decision in the words of LangGraph's clients.
type answerDecision struct {
	Type    string `json:"type"`
	Message string `json:"message,omitempty"`
}

// answerValue is what the graph gets: decisions, one for each call that the
// question is about, or the person's words, or JSON as it was written.
func answerValue(q transcript.Question, kind, text string) (json.RawMessage, error) {
	if kind == "text" || kind == "json" {
		if err := agents.ValidateText("text", text); err != nil {
			return nil, err
		}
	}
	switch kind {
	case "approve", "reject":
		calls := present.ActionRequests(q.Value)
		if len(calls) == 0 {
			return nil, fault.Invalid("kind", "must be text or json: the question is about no call")
		}
		d := answerDecision{Type: kind}
		if kind == "reject" && strings.TrimSpace(text) != "" {
			d.Message = strings.TrimSpace(text)
			if err := agents.ValidateText("text", d.Message); err != nil {
				return nil, err
			}
		}
		decisions := make([]answerDecision, len(calls))
		for i := range decisions {
			decisions[i] = d
		}
		return json.Marshal(map[string]any{"decisions": decisions})
	case "continue":
		if _, ok := agents.BreakpointOf(q.Value); !ok {
			return nil, fault.Invalid("kind", "must be an answer: the assistant waits for one, not at a breakpoint")
		}
		return json.RawMessage("null"), nil
	case "text":
		return json.Marshal(text)
	case "json":
		if !json.Valid([]byte(text)) {
			return nil, fault.Invalid("text", "must be valid JSON")
		}
		return json.RawMessage(text), api.Storable("text", []byte(text))
	default:
		return nil, fault.Invalid("kind", "must be approve, reject, text, json or continue")
	}
}
