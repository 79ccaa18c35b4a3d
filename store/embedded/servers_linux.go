package embedded

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// serversIn lists the live PostgreSQL processes that work in dir. A server's
// processes have its directory as working directory for all their life; a
// zombie has none.
func serversIn(dir string) ([]int, error) {
	want, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing the processes: %w", err)
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		proc := filepath.Join("/proc", entry.Name())
		// Processes come and go while we look: what cannot be read has ended.
		comm, err := os.ReadFile(filepath.Join(proc, "comm"))
		if err != nil || string(bytes.TrimSpace(comm)) != "postgres" {
			continue
		}
		cwd, err := os.Stat(filepath.Join(proc, "cwd"))
		if err == nil && os.SameFile(cwd, want) || os.IsPermission(err) && startedFor(proc, dir) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// startedFor recognises a postmaster by its arguments, for containers whose
// root may not see the working directory of other accounts' processes.
func startedFor(proc, dir string) bool {
	args, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	return err == nil && bytes.Contains(args, []byte("\x00-D\x00"+dir+"\x00"))
}
