package review

import (
	"encoding/json"

	"github.com/heddle/heddle/agents"
)

// Action is one call as clients are asked about it.
type Action struct {
	Name        string
	Args        json.RawMessage
	Description string
	Allowed     []agents.DecisionKind
	Schema      json.RawMessage
}

// Payload is the value of a review's interrupt, in the two forms that clients of
// the Agent Server know, side by side: action_requests with review_configs
// (agent-chat-ui), and action_request with config for the first call
// (agent-inbox). Each carries the arguments as "args" and as "arguments", since
// the clients differ in which they read.
type Payload struct {
	ActionRequests []ActionRequest `json:"action_requests"`
	ReviewConfigs  []Config        `json:"review_configs"`
	ActionRequest  InboxRequest    `json:"action_request"`
	Config         InboxConfig     `json:"config"`
	Description    string          `json:"description,omitempty"`
}

// ActionRequest is one call in the form of agent-chat-ui.
type ActionRequest struct {
	Name        string          `json:"name"`
	Args        json.RawMessage `json:"args"`
	Arguments   json.RawMessage `json:"arguments"`
	Description string          `json:"description,omitempty"`
}

// Config says what may be decided about the calls of one name.
type Config struct {
	ActionName       string                `json:"action_name"`
	AllowedDecisions []agents.DecisionKind `json:"allowed_decisions"`
	ArgsSchema       json.RawMessage       `json:"args_schema,omitempty"`
}

// InboxRequest is a call in the form of agent-inbox.
type InboxRequest struct {
	Action string          `json:"action"`
	Args   json.RawMessage `json:"args"`
}

// InboxConfig says what agent-inbox offers.
type InboxConfig struct {
	AllowAccept  bool `json:"allow_accept"`
	AllowEdit    bool `json:"allow_edit"`
	AllowRespond bool `json:"allow_respond"`
	AllowIgnore  bool `json:"allow_ignore"`
}

// PayloadOf asks about calls; there is at least one.
func PayloadOf(actions []Action) Payload {
	var p Payload
	for _, a := range actions {
		p.ActionRequests = append(p.ActionRequests, ActionRequest{
			Name: a.Name, Args: a.Args, Arguments: a.Args, Description: a.Description})
		p.ReviewConfigs = append(p.ReviewConfigs, Config{ActionName: a.Name, AllowedDecisions: a.Allowed, ArgsSchema: a.Schema})
	}
	first := actions[0]
	p.ActionRequest, p.Description = InboxRequest{Action: first.Name, Args: first.Args}, first.Description
	for _, k := range first.Allowed {
		switch k {
		case agents.Approve:
			p.Config.AllowAccept = true
		case agents.Edit:
			p.Config.AllowEdit = true
		case agents.Respond:
			p.Config.AllowRespond = true
		case agents.Reject:
			p.Config.AllowIgnore = true
		default:
		}
	}
	return p
}
