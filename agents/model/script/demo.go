package script

import _ "embed" // the demo script

//go:embed demo.script
var demoText string

// Demo is the script of the demo assistant: plain requests and small talk, the
// tools of package builtin and send_email.
func Demo() (*Script, error) { return Parse("demo.script", demoText) }
