package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// What ReadRun finds when there is nothing to attach to.
var (
	// ErrNotRunning means nobody owns the data directory.
	ErrNotRunning = errors.New("no instance uses this data directory")
	// ErrNotReady means the owner has not written its run file yet, or writes none.
	ErrNotReady = errors.New("the instance that uses this data directory is not ready yet")
)

// RunFile tells the other commands of the same machine and account how to reach
// what the serving process runs. It holds passwords: its mode is 0600.
type RunFile struct {
	PID         int    `json:"pid"`          // set by WriteRun
	DatabaseURL string `json:"database_url"` // as [Server.URL]
	RedisURL    string `json:"redis_url"`    // with its password
	BaseURL     string `json:"base_url"`     // where people reach the server
}

// WriteRun puts run in place, whole or not at all.
func (l *DirLock) WriteRun(run RunFile) error {
	run.PID = os.Getpid()
	text, err := json.MarshalIndent(run, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the run file: %w", err)
	}
	if err := replaceFile(runPath(l.dir), append(text, '\n'), nil); err != nil {
		return fmt.Errorf("writing the run file: %w", err)
	}
	return nil
}

// RemoveRun removes the run file; that there is none is fine.
func (l *DirLock) RemoveRun() error {
	if err := os.Remove(runPath(l.dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the run file: %w", err)
	}
	return nil
}

// ReadRun reads the run file of the instance that owns dir. A file left by a
// process that is gone counts for nothing: the answer is [ErrNotRunning], or
// [ErrNotReady] while the next owner starts.
func ReadRun(dir string) (RunFile, error) {
	owner, err := dirOwner(dir)
	if err != nil {
		return RunFile{}, err
	}
	text, err := os.ReadFile(runPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return RunFile{}, ErrNotReady
	}
	if err != nil {
		return RunFile{}, fmt.Errorf("reading the run file: %w", err)
	}
	var run RunFile
	if err := json.Unmarshal(text, &run); err != nil {
		return RunFile{}, fmt.Errorf("decoding the run file %s: %w", runPath(dir), err)
	}
	if run.PID != owner {
		return RunFile{}, ErrNotReady
	}
	return run, nil
}

// dirOwner is the pid of the process that holds the lock of dir.
func dirOwner(dir string) (int, error) {
	file, err := os.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ErrNotRunning
	}
	if err != nil {
		return 0, fmt.Errorf("opening the lock of the data directory: %w", err)
	}
	defer file.Close()
	err = flock(file, syscall.LOCK_SH)
	if err == nil {
		return 0, ErrNotRunning
	}
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return 0, fmt.Errorf("probing the lock of the data directory: %w", err)
	}
	return lockOwner(file), nil
}

func runPath(dir string) string { return filepath.Join(dir, "run.json") }

// replaceFile writes text beside path and renames it into place, mode 0600.
// own, when given, hands the file to its owner before others can see it.
func replaceFile(path string, text []byte, own func(path string) error) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	err = errors.Join(err, file.Close())
	if err == nil && own != nil {
		err = own(file.Name())
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
