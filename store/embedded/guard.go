package embedded

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// guard is a small process that signals another one when we are gone, for
// systems whose kernel has no death signal. It reads from a pipe whose other
// end only we hold: however we end, it sees the end of the file.
type guard struct {
	cmd  *exec.Cmd
	hold *os.File
}

func startGuard(pid int, sig syscall.Signal) (*guard, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making the guard's pipe: %w", err)
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", `read -r _; kill -"$2" "$1"`, "heddle-guard", strconv.Itoa(pid), strconv.Itoa(int(sig)))
	cmd.Stdin, cmd.Env, cmd.Dir = r, cleanEnv(), "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		_ = w.Close() // nothing was written to it
		return nil, fmt.Errorf("starting the guard: %w", err)
	}
	return &guard{cmd: cmd, hold: w}, nil
}

// end stops the guard before its pipe closes, since the pid it watches may
// belong to somebody else by now.
func (g *guard) end() {
	_ = g.cmd.Process.Kill() // fails only if it has ended, which is what we want
	_ = g.cmd.Wait()         // reports the kill
	_ = g.hold.Close()       // nothing was written to it
}
