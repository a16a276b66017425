// Package jail starts programs that have no rights and see next to nothing.
//
// What is started has a user of its own and no capabilities, cannot gain any,
// and has mount, process, IPC, host name and network namespaces of its own. Its
// root is a small file system in memory with what it is given and no more: there
// are no processes but its own, and no network. It is process 1 of its
// namespace, so nothing that it leaves behind outlives it.
//
// It costs no helper program: a thread of the caller is put into the jail, starts
// the program from there and is thrown away.
package jail

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/internal/thread"
	"github.com/coppice-vm/coppice/qemu/cgroup"
)

// A Jail is what a program gets to see of the host, under the names that it has
// there. What is not the program's own it must have a right to read like anybody.
type Jail struct {
	User int // and group
	// System are the files and directories that every program of the kind needs,
	// read-only. What is not there is left out; a symbolic link is made again.
	System []string
	// Read and Write are files. Those of Write become the user's own.
	Read, Write []string
	// Blank are files of zeroes that are there in the jail only.
	Blank []Blank
	// Devices are devices that the program may use whatever their own mode says.
	Devices []string
	// Groups are the directories of its control group, if it has one.
	Groups []string
	// Dir is an existing directory of the host. The jail's root is mounted there,
	// in a namespace that nobody else sees, while it is being made.
	Dir string
}

// A Blank is a file of zeroes.
type Blank struct {
	Name string
	Size int64
}

// firstToGo has the kernel, when memory runs out, kill a guest's process before
// the daemon, whose adjustment it would have otherwise, and the host's others.
const firstToGo = "200"

// Start starts a program in the jail, with argv, no environment, and files as
// its descriptors 0, 1, 2 and so on. The pidfd is the caller's; so is the child,
// to be waited for.
func (j Jail) Start(binary string, argv []string, files []*os.File) (pid, pidfd int, err error) {
	err = thread.Run(func() error {
		group, err := cgroup.Join(j.Groups)
		if err != nil {
			return fmt.Errorf("join a control group: %w", err)
		}
		defer group.Close()
		if err := j.enter(); err != nil {
			return err
		}
		// What the caller was started with may be open for its children too.
		const first = 3
		if err := unix.CloseRange(first, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
			return fmt.Errorf("keep descriptors from a jail: %w", err)
		}
		child, err := os.StartProcess(binary, argv, &os.ProcAttr{
			Dir:   "/",
			Env:   []string{}, // the caller's may hold secrets
			Files: files,
			Sys: &unix.SysProcAttr{
				Setsid: true, PidFD: &pidfd,
				UseCgroupFD: group != nil, CgroupFD: int(group.Fd()),
				Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET,
				Credential: &syscall.Credential{Uid: uint32(j.User), Gid: uint32(j.User)},
			},
		})
		if err != nil {
			return err
		}
		pid = child.Pid
		return child.Release()
	})
	if err != nil {
		return 0, 0, fmt.Errorf("start in a jail: %w", err)
	}
	// It fails only if the program has ended already.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(firstToGo), 0)
	return pid, pidfd, nil
}

// enter puts the thread into the jail.
func (j Jail) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("separate a mount namespace: %w", err)
	}
	if err := j.furnish(); err != nil {
		return err
	}
	if err := changeRoot(j.Dir); err != nil {
		return fmt.Errorf("change the root to a jail's: %w", err)
	}
	return renounce()
}

// furnish mounts the jail's root at j.Dir.
func (j Jail) furnish() error {
	sources, err := j.sources()
	defer func() { sources.close() }()
	if err != nil {
		return err
	}
	const small = "size=1m,mode=755" // next to no content, and only root may make files
	if err := unix.Mount("jail", j.Dir, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, small); err != nil {
		return fmt.Errorf("mount a jail's root: %w", err)
	}
	if err := sources.attach(j.Dir); err != nil {
		return err
	}
	for _, b := range j.Blank {
		if err := j.makeBlank(b); err != nil {
			return err
		}
	}
	for _, name := range j.Devices {
		if err := j.makeDevice(name); err != nil {
			return fmt.Errorf("make the device %s in a jail: %w", name, err)
		}
	}
	return nil
}

// inside is the name that a file of the jail has while its root is at j.Dir.
func (j Jail) inside(name string) string { return filepath.Join(j.Dir, name) }

func (j Jail) makeBlank(b Blank) error {
	f, err := create(j.inside(b.Name))
	if err != nil {
		return err
	}
	return errors.Join(f.Chown(j.User, j.User), f.Truncate(b.Size), f.Close())
}

// makeDevice makes a device like that of the host, of the jail's user.
func (j Jail) makeDevice(name string) error {
	var device unix.Stat_t
	if err := unix.Stat(name, &device); err != nil {
		return err
	}
	made := j.inside(name)
	if err := os.MkdirAll(filepath.Dir(made), 0o755); err != nil {
		return err
	}
	if err := unix.Mknod(made, unix.S_IFCHR|0o600, int(device.Rdev)); err != nil {
		return err
	}
	return os.Chown(made, j.User, j.User)
}

// create makes an empty file, and the directories above it.
func create(name string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// changeRoot makes dir, where something is mounted, the thread's root, and lets
// go of what was outside.
func changeRoot(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil { // the old root lies on the new one now
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// renounce has the thread and what it starts never gain rights again, whatever
// they execute.
func renounce() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("renounce new privileges: %w", err)
	}
	for capability := uintptr(0); ; capability++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) && capability > unix.CAP_BLOCK_SUSPEND { // the kernel has no more
			return nil
		}
		if err != nil {
			return fmt.Errorf("renounce capability %d: %w", capability, err)
		}
	}
}

// Stat describes a file as the process with that number sees it.
func Stat(pid int, name string) (os.FileInfo, error) {
	return os.Stat(filepath.Join(fmt.Sprintf("/proc/%d/root", pid), name))
}
