package openaitest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// sendEmail is the tool that a request may offer.
const sendEmail = "send_email"

// email reads «email bob@example.com that we ship on Friday».
var email = regexp.MustCompile(`(?is)\be-?mail\s+(\S+@\S+)\s+that\s+(.+?)[.!]?\s*$`)

// Answer is what the server says by itself:
//   - to a tool's result: one sentence that quotes it;
//   - to «email X that Y», when the tool send_email is offered: a call of it;
//   - to anything else: an echo.
func Answer(c Chat) Reply {
	last := c.Messages[len(c.Messages)-1]
	if last.Role == "tool" {
		return Text(fmt.Sprintf("The tool answered: %q.", last.Text()))
	}
	said := ""
	for _, m := range c.Messages {
		if m.Role == "user" {
			said = m.Text()
		}
	}
	if match := email.FindStringSubmatch(said); match != nil && c.Has(sendEmail) {
		args, err := json.Marshal(map[string]string{
			"to": match[1], "subject": upperFirst(match[2]), "body": upperFirst(match[2]) + ".",
		})
		if err != nil {
			panic("openaitest: strings are always JSON: " + err.Error())
		}
		return Calls(Call{ID: fmt.Sprintf("call_%d", len(c.Messages)), Name: sendEmail, Args: string(args)})
	}
	return Text("You said: " + said)
}

func upperFirst(text string) string {
	runes := []rune(text)
	return strings.ToUpper(string(runes[:1])) + string(runes[1:])
}
