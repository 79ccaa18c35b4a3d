package chat

import "strconv"

// The regions of the thread page that the socket patches. A patch names one of
// these; the page renders the same component under the same id.
const (
	RegionTitle    = "thread-title"
	RegionMessages = "messages"
	RegionStatus   = "status"
	RegionQueue    = "queue"
	RegionActions  = "composer-actions"
	// RegionQuestions holds what the assistant asks whoever may write.
	RegionQuestions = "questions"
	RegionThreads   = "thread-list"
)

// ThreadAction is the id of the page's form that carries the token for buttons
// inside patched regions; they name it and give their own address.
const ThreadAction = "thread-action"

// MessageID names a whole message.
func MessageID(id string) string { return "message-" + id }

// BodyID names the element that a message's blocks are appended to.
func BodyID(id string) string { return "message-" + id + "-body" }

// BlockID names one block of a message, closed or open.
func BlockID(id string, index int) string {
	return "message-" + id + "-b" + strconv.Itoa(index)
}

// StepsID names the tool calls of a message.
func StepsID(id string) string { return "steps-" + id }

// StepID names one tool call.
func StepID(callID string) string { return "step-" + callID }

// QuestionID names one question of the assistant.
func QuestionID(id string) string { return "question-" + id }

// DraftKey names a thread's draft in the browser's session storage; a new
// thread has the empty id.
func DraftKey(threadID string) string {
	if threadID == "" {
		return "draft:new"
	}
	return "draft:" + threadID
}
