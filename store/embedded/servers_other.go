//go:build unix && !linux

package embedded

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// serversIn lists the live PostgreSQL processes that work in dir, as lsof, a
// part of macOS, sees them. A zombie has no working directory.
func serversIn(dir string) ([]int, error) {
	want, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	out, err := exec.Command("lsof", "-w", "-a", "-c", "postgres", "-d", "cwd", "-Fpn").Output()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) { // 1: nothing found
		return nil, fmt.Errorf("listing the processes with lsof: %w", err)
	}
	var pids []int
	pid := 0
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "p"):
			if pid, err = strconv.Atoi(line[1:]); err != nil {
				return nil, fmt.Errorf("reading lsof's answer: %w", err)
			}
		case line == "n"+want && pid != 0:
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
