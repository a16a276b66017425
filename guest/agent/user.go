package agent

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/coppice-vm/coppice"
)

// A user of the guest.
type user struct {
	name     string
	uid, gid uint32
	groups   []uint32 // beside gid
	home     string
	shell    string // as /etc/passwd has it; may be empty
}

// lookUp finds a user by name or number in the guest's /etc/passwd and
// /etc/group; empty is root. [coppice.ErrNoUser] if there is none.
func (a *Agent) lookUp(who string) (user, error) {
	if who == "" {
		who = "root"
	}
	var found user
	err := a.eachLine("etc/passwd", 7, func(f []string) bool {
		named := f[0] == who
		if !named && (f[2] != who || found.name != "") {
			return true
		}
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 != nil || err2 != nil {
			return true
		}
		found = user{name: f[0], uid: uint32(uid), gid: uint32(gid), home: f[5], shell: f[6]}
		return !named // a name counts for more than a number
	})
	if err != nil {
		return user{}, err
	}
	if found.name == "" {
		return user{}, fmt.Errorf("%w: %q", coppice.ErrNoUser, who)
	}
	if !filepath.IsAbs(found.home) {
		found.home = "/"
	}
	err = a.eachLine("etc/group", 4, func(f []string) bool {
		gid, err := strconv.ParseUint(f[2], 10, 32)
		if err == nil && slices.Contains(strings.Split(f[3], ","), found.name) {
			found.groups = append(found.groups, uint32(gid))
		}
		return true
	})
	return found, err
}

// eachLine calls do with the fields of each line of a colon-separated file
// that has as many, until do returns false.
func (a *Agent) eachLine(name string, fields int, do func([]string) bool) error {
	f, err := os.Open(a.path(name))
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if f := strings.Split(lines.Text(), ":"); len(f) == fields && !do(f) {
			return nil
		}
	}
	return lines.Err()
}

func (u user) credential() *syscall.Credential {
	return &syscall.Credential{Uid: u.uid, Gid: u.gid, Groups: append([]uint32{u.gid}, u.groups...)}
}

// abs returns name as it is for the user: from the home, if it is relative.
func (u user) abs(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(u.home, name)
}

// environment is what the user's commands find in theirs.
func (u user) environment(shell string, vm coppice.VMID) []string {
	path := "/usr/local/bin:/usr/bin:/bin"
	if u.uid == 0 {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	return []string{
		"PATH=" + path,
		"HOME=" + u.home,
		"USER=" + u.name,
		"LOGNAME=" + u.name,
		"SHELL=" + shell,
		"LANG=C.UTF-8",
		"TERM=dumb",
		"COPPICE_VM_ID=" + string(vm),
	}
}
