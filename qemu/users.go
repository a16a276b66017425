package qemu

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Users is a range of user ids, of the host's, that VMs run as: each VM that
// there is has one to itself, which is its group id too. No account may be
// among them, and nothing else may use them.
type Users struct{ First, Last int }

// DefaultUsers are ids that no distribution gives away.
var DefaultUsers = Users{First: 2000000000, Last: 2000065535}

// ParseUsers reads "first-last".
func ParseUsers(s string) (u Users, err error) {
	first, last, ok := strings.Cut(s, "-")
	if u.First, err = strconv.Atoi(first); err == nil {
		u.Last, err = strconv.Atoi(last)
	}
	const max = 1<<32 - 2 // the one after it is "no user"
	if !ok || err != nil || u.First < 1000 || u.Last < u.First || u.Last > max {
		return Users{}, fmt.Errorf("want a range of user ids from 1000 to %d, as %s", max, DefaultUsers)
	}
	return u, nil
}

func (u Users) String() string { return fmt.Sprintf("%d-%d", u.First, u.Last) }

// has reports whether a user is one of them.
func (u Users) has(user int) bool { return user >= u.First && user <= u.Last }

// users knows which run directory has which user. It is written down in the
// directory, and stays the VM's until the directory is removed.
type users struct {
	Users
	runDir string

	mu    sync.Mutex
	names map[int]string // of directories, by user; nil before they have been read
}

// owners returns the names of run directories, by their user.
func (u *users) owners() (map[int]string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.read(); err != nil {
		return nil, err
	}
	return maps.Clone(u.names), nil
}

// read finds out who has what, once.
func (u *users) read() error {
	if u.names != nil {
		return nil
	}
	entries, err := os.ReadDir(u.runDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	names := map[int]string{}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		user, err := runDir(filepath.Join(u.runDir, entry.Name())).readUser()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if other, taken := names[user]; taken {
			return fmt.Errorf("%s and %s have the same user %d", other, entry.Name(), user)
		}
		names[user] = entry.Name()
	}
	u.names = names
	return nil
}

// of returns the user of a run directory, which gets one if it has none.
func (u *users) of(dir runDir) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.read(); err != nil {
		return 0, err
	}
	if user, err := dir.readUser(); !errors.Is(err, fs.ErrNotExist) {
		return user, err
	}
	user, err := u.free(dir)
	if err != nil {
		return 0, err
	}
	if err := os.Symlink(strconv.Itoa(user), dir.user()); err != nil {
		return 0, err
	}
	u.names[user] = dir.name()
	return user, nil
}

// free returns a user that no run directory has. Where the search begins depends on
// the directory, so that two daemons with the same range, too, seldom meet.
func (u *users) free(dir runDir) (int, error) {
	hash := fnv.New32a()
	hash.Write([]byte(dir))
	count := u.Last - u.First + 1
	for i := range count {
		user := u.First + (int(hash.Sum32())+i)%count
		if _, taken := u.names[user]; !taken {
			return user, nil
		}
	}
	return 0, fmt.Errorf("all %d users that VMs may run as are taken (--vm-users)", count)
}

// drop takes note that a run directory is gone, or is about to go.
func (u *users) drop(dir runDir) {
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.names, func(_ int, name string) bool { return name == dir.name() })
}

// user is a symbolic link to a number, which is there as a whole or not at all.
func (d runDir) user() string { return filepath.Join(string(d), "user") }

// readUser returns the user of a run directory that has one.
func (d runDir) readUser() (int, error) {
	s, err := os.Readlink(d.user())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(s)
}
