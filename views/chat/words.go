package chat

import (
	"fmt"
	"net/url"

	"github.com/heddle/heddle/views/ui"
)

func placeholder(c Composer) string {
	if c.Disabled != "" {
		return c.Disabled
	}
	return invitation(c.Busy)
}

// invitation says what sending does: while a run works, messages queue.
func invitation(busy bool) string {
	if busy {
		return "Write the next message"
	}
	return "Write a message"
}

func queueTitle(n int) string {
	if n == 1 {
		return "Queued: 1 message goes next"
	}
	return fmt.Sprintf("Queued: %d messages go next", n)
}

func mainClass(t Thread) string {
	return ui.Class("work thread", ui.When(t.CanWrite, "can-write"), ui.When(t.CanReview, "can-review"))
}

// answerAddress is where a button answers a question; the words stand in a field
// of the page's one form.
func answerAddress(thread, question, kind string) string {
	return "/threads/" + thread + "/answer?" + url.Values{"interrupt_id": {question}, "kind": {kind}}.Encode()
}

// AnswerField is the name of the field with the words of an answer.
func AnswerField(question string) string { return "text:" + question }

// queuedAddress is where a button changes what stands in line.
func queuedAddress(thread, run, what string) string {
	return "/threads/" + thread + "/queue/" + run + "/" + what
}

// QueuedField is the name of the field with the new words of a queued message.
func QueuedField(run string) string { return "message:" + run }

// about describes the assistant that is chosen.
func about(assistants []Assistant) string {
	for _, a := range assistants {
		if a.Selected {
			return a.Description
		}
	}
	return ""
}
