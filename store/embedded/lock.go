package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// lockPatience is how long Lock tries again: readers of the run file probe the
// lock for microseconds, and a process that was just killed takes a moment to vanish.
const lockPatience = 250 * time.Millisecond

// LockedError says that another process owns the data directory.
type LockedError struct {
	Dir string // the data directory, absolute
	PID int    // the owner; 0 if it has not written its number yet
}

// Error names the owner and what a second node needs.
func (e *LockedError) Error() string {
	return fmt.Sprintf("another instance (pid %d) uses %s; to run a second node set DATABASE_URL and REDIS_URL to servers both can reach", e.PID, e.Dir)
}

// DirLock is the ownership of a data directory. The kernel gives it back when
// the process ends, so it cannot go stale.
type DirLock struct {
	dir  string
	file *os.File
}

// Lock makes dir if needed and takes its lock. It returns a *[LockedError] if
// another process, or another DirLock of this one, holds it.
func Lock(dir string) (*DirLock, error) {
	dir, err := makeDataDir(dir)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the data directory: %w", err)
	}
	deadline := time.Now().Add(lockPatience)
	for {
		err = flock(file, syscall.LOCK_EX)
		if err == nil || !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		locked := &LockedError{Dir: dir, PID: lockOwner(file)}
		return nil, errors.Join(locked, file.Close())
	}
	if err == nil {
		err = writeOwner(file)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking the data directory: %w", err), file.Close())
	}
	return &DirLock{dir: dir, file: file}, nil
}

// Dir is the absolute path of the data directory.
func (l *DirLock) Dir() string { return l.dir }

// Release removes the run file and gives the lock back.
func (l *DirLock) Release() error {
	return errors.Join(l.RemoveRun(), l.file.Close())
}

// makeDataDir returns the absolute path of dir, which exists afterwards. Made
// by root it can be passed through but not listed, because the server then
// runs as somebody else; all that is secret in it has a mode of its own.
func makeDataDir(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("the data directory: must not be empty")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding the data directory: %w", err)
	}
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return "", fmt.Errorf("making the data directory: %w", err)
	}
	// Two paths to one directory must give one name, or the hash of a long
	// socket path and the search for old processes would miss.
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		return "", fmt.Errorf("finding the data directory: %w", err)
	}
	return dir, nil
}

func flock(file *os.File, how int) error {
	for {
		err := syscall.Flock(int(file.Fd()), how|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func writeOwner(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func lockOwner(file *os.File) int {
	text, err := io.ReadAll(io.NewSectionReader(file, 0, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}
