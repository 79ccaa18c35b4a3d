//go:build unix && !linux

package testredis

import "syscall"

// childAttr keeps a Ctrl-C from the server. Nothing here ends it with a test
// process that is killed.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
