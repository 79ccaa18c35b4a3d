//go:build unix && !linux

package embedded

import (
	"errors"
	"syscall"
)

// kernelEndsOrphans: elsewhere a guard process does what Linux does by itself.
const kernelEndsOrphans = false

// maxSocketPath is the longest path of a Unix socket in bytes: sun_path of
// macOS's unix(4) less its closing zero.
const maxSocketPath = 103

// sysProcAttr starts a program as the account, in a process group of its own so
// that a Ctrl-C meant for us does not reach it. There is no death signal here.
func (a account) sysProcAttr(syscall.Signal) (*syscall.SysProcAttr, error) {
	if a.namespace {
		return nil, errors.New("this system has no user namespaces")
	}
	return &syscall.SysProcAttr{Setpgid: true, Credential: a.drop}, nil
}
