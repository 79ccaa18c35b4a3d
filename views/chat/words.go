package chat

import "fmt"

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
	if t.CanWrite {
		return "work thread can-write"
	}
	return "work thread"
}

// about describes the assistant that is chosen.
func about(assistants []Assistant) string {
	for _, a := range assistants {
		if a.Selected {
			return a.Description
		}
	}
	return ""
}
