package testredis

import "syscall"

// childAttr keeps a Ctrl-C from the server and ends it with the thread that
// started it.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
