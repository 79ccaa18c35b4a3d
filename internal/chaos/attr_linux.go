package chaos

import "syscall"

// childAttr keeps a Ctrl-C from a child and ends it with the thread that started
// it.
func childAttr(death syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: death}
}
