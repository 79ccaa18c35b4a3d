package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// account says who the server's programs run as. PostgreSQL refuses root.
type account struct {
	// drop is the identity they take; nil means ours.
	drop *syscall.Credential
	// namespace runs them in a user namespace where drop's ids stand for root
	// outside. They pass PostgreSQL's check and reach root's files, and keep
	// root's rights over them: it is no privilege drop.
	namespace bool
	// uid and gid own the server's files, as seen from outside.
	uid, gid int
	// peer is the name by which the server knows our own connections.
	peer string
}

// serverUsers are the accounts root hands the server to, the first that exists.
var serverUsers = [...]string{"postgres", "_postgres", "nobody"}

// chooseAccount finds an account that can run the programs of bins with the
// cluster below dir.
func chooseAccount(ctx context.Context, bins binaries, dir string) (account, error) {
	self, err := user.LookupId(strconv.Itoa(os.Geteuid()))
	if err != nil {
		return account{}, fmt.Errorf("PostgreSQL needs a name for the account with uid %d; add it to the password file or set DATABASE_URL: %w", os.Geteuid(), err)
	}
	if os.Geteuid() != 0 {
		return account{uid: os.Geteuid(), gid: os.Getegid(), peer: self.Username}, nil
	}
	for _, name := range serverUsers {
		acct, err := dropTo(name)
		var unknown user.UnknownUserError
		if errors.As(err, &unknown) {
			continue
		}
		if err != nil {
			return account{}, err
		}
		acct.peer = self.Username
		cannot := acct.probe(ctx, bins, dir)
		if cannot == nil {
			return acct, nil
		}
		inside, err := insideNamespace(ctx, bins, dir)
		if err != nil {
			return account{}, fmt.Errorf("PostgreSQL does not run as root and %s cannot use %s; set HEDDLE_DATA_DIR to a directory that %s can pass through: %w", name, dir, name, errors.Join(cannot, err))
		}
		return inside, nil
	}
	return account{}, errors.New("PostgreSQL does not run as root and there is neither a user postgres nor nobody to run it; add one or set DATABASE_URL")
}

func dropTo(name string) (account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("reading the uid of %s: %w", name, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("reading the gid of %s: %w", name, err)
	}
	return account{
		drop: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
		uid:  int(uid), gid: int(gid),
	}, nil
}

// insideNamespace maps nobody to root. It must be an account with a name, or
// the server cannot tell who its peers are.
func insideNamespace(ctx context.Context, bins binaries, dir string) (account, error) {
	acct, err := dropTo("nobody")
	if err != nil {
		return account{}, err
	}
	acct.namespace, acct.peer = true, "nobody"
	acct.uid, acct.gid = 0, 0
	// A new namespace may not change its groups while the map has one line.
	acct.drop.NoSetGroups = true
	if err := acct.probe(ctx, bins, dir); err != nil {
		return account{}, fmt.Errorf("trying a user namespace: %w", err)
	}
	return acct, nil
}

// probe runs the server's smallest command in dir, which fails where the
// account may not pass through the path or not run the program. Asking the
// kernel counts what mode bits do not show.
func (a account) probe(ctx context.Context, bins binaries, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, bins.path("postgres"), "-V")
	cmd.Dir, cmd.Env = dir, cleanEnv()
	attr, err := a.sysProcAttr(0)
	if err != nil {
		return err
	}
	cmd.SysProcAttr = attr
	return cmd.Run()
}

// own hands one file to the account.
func (a account) own(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// ownTree hands a directory and all below it to the account, for data that
// another account of this machine used before. The top changes last, so that
// work cut short is done again.
func (a account) ownTree(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(stat.Uid) == a.uid {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s belongs to another account (uid %d)", dir, stat.Uid)
	}
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		return a.own(path)
	})
	if err != nil {
		return err
	}
	return a.own(dir)
}
