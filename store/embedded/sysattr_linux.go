package embedded

import "syscall"

// kernelEndsOrphans: Linux signals a child when the thread that started it ends.
const kernelEndsOrphans = true

// maxSocketPath is the longest path of a Unix socket in bytes: sun_path of
// unix(7) less its closing zero.
const maxSocketPath = 107

// sysProcAttr starts a program as the account, in a process group of its own so
// that a Ctrl-C meant for us does not reach it. death, unless 0, is the signal it
// gets when the thread that started it ends.
func (a account) sysProcAttr(death syscall.Signal) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Setpgid: true, Credential: a.drop, Pdeathsig: death}
	if a.namespace {
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: int(a.drop.Uid), HostID: 0, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: int(a.drop.Gid), HostID: 0, Size: 1}}
	}
	return attr, nil
}
