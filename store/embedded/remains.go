package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// How long servers of a previous owner may take to end by themselves before
// they are told to drop everything, and then made to.
const (
	strayPatience = 10 * time.Second
	strayQuit     = 5 * time.Second
)

// clearRemains makes place for a new server after an end that left pid file,
// socket or processes behind. PostgreSQL would refuse to start if the pid in
// its file is taken, even by a zombie or a stranger. We hold the data
// directory's lock, so any server still there has lost its owner.
func (c *cluster) clearRemains(ctx context.Context) error {
	files := []string{
		filepath.Join(c.dir, "postmaster.pid"),
		filepath.Join(c.sock, socketName),
		filepath.Join(c.sock, socketName+".lock"),
	}
	if !slices.ContainsFunc(files, exists) {
		return nil
	}
	if err := c.endStrays(ctx, files[0]); err != nil {
		return fmt.Errorf("ending the servers of a previous instance: %w", err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing what a previous instance left: %w", err)
		}
	}
	return nil
}

// endStrays returns when no server process works in the cluster's directory.
func (c *cluster) endStrays(ctx context.Context, pidFile string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	var sent syscall.Signal
	for {
		pids, err := serversIn(c.dir)
		if err != nil || len(pids) == 0 {
			return err
		}
		var sig syscall.Signal
		switch waited := time.Since(began); {
		case waited > strayPatience+strayQuit:
			sig = syscall.SIGKILL
		case waited > strayPatience:
			sig = syscall.SIGQUIT
		default:
			// Children of a dead postmaster end by themselves.
			sig = syscall.SIGINT
			pids = slices.DeleteFunc(pids, func(pid int) bool { return pid != postmasterPID(pidFile) })
		}
		if sig != sent && len(pids) > 0 {
			for _, pid := range pids {
				if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
					return fmt.Errorf("sending %v to pid %d: %w", sig, pid, err)
				}
			}
			sent = sig
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// postmasterPID is the first line of the pid file, 0 if there is none.
func postmasterPID(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return 0
	}
	return pid
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
