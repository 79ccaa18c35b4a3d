//go:build unix && !linux

package chaos

import "syscall"

// childAttr keeps a Ctrl-C from a child. Nothing here ends it with a harness
// that is killed.
func childAttr(syscall.Signal) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
