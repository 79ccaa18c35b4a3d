package admin

import "github.com/heddle/heddle/views/ui"

// Members is the page of an organisation's members and its open invitations.
type Members struct {
	Org string
	// Text and Roles are the filter; Sort and Dir are kept by it.
	Text      string
	Roles     []ui.Option
	Sort, Dir string
	Filtered  bool
	// Found says how many there are, such as "3 of 12 members".
	Found   string
	Columns []MemberColumn
	Members []MemberRow
	// Before and After lead to the neighbouring pages; "" where there is none.
	Before, After string

	Invitations []OpenInvitation
	// Invited is the invitation just made: its link is shown on this page, never
	// again.
	Invited *Invited
	Invite  InviteForm
	CSRF    string
}

// MemberColumn is the head of a column that sorts.
type MemberColumn struct {
	Label, Href string
	// Sorted is "ascending", "descending" or, for another column's order, "".
	Sorted string
	// Wide leaves the column out where there is little room.
	Wide bool
}

// MemberRow is one member in the table.
type MemberRow struct {
	ID, Name, Email, Role string
	You                   bool
	Joined                ui.Time
	Seen                  ui.Time // empty Text: never
}

// OpenInvitation is one that nobody accepted yet.
type OpenInvitation struct {
	ID, Email, Role string
	// Inviter is who made it, "" for somebody who is gone.
	Inviter string
	Made    ui.Time
	Expires ui.Time
	Expired bool
}

// Invited is an invitation just made.
type Invited struct {
	Email, Role, Link string
	Expires           ui.Time
	// Mail says what became of the mail.
	Mail Mail
}

// Mail is what became of an invitation's mail.
type Mail string

// What can become of it.
const (
	MailNone   Mail = ""       // this server sends none
	MailSent   Mail = "sent"   // it is on its way
	MailFailed Mail = "failed" // the mail server did not take it
)

func (m Mail) words() string {
	switch m {
	case MailSent:
		return "The link was mailed to them; you can also copy it."
	case MailFailed:
		return "The mail could not be sent. Copy the link and send it yourself."
	default:
		return "Copy the link and send it to them."
	}
}

// InviteForm brings back what was typed; Errors by field.
type InviteForm struct {
	Email  string
	Roles  []ui.Option
	Errors map[string]string
}

// Member is the page of one member.
type Member struct {
	ID, Name, Email, Role, Org string
	Joined                     ui.Time
	Seen                       ui.Time // empty Text: never
	// Keys is how many API keys they hold, in words; KeysHref lists them.
	Keys, KeysHref string
	You            bool
	// Locked says why nothing can be changed; "" when it can.
	Locked string
	Roles  []ui.Option
	CSRF   string
}
