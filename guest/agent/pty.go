package agent

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
)

// openPTY opens a pair of pseudo-terminals. The slave is for a program of u.
func openPTY(u user) (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	var peer uintptr
	err = control(master, func(fd int) (err error) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		var errno syscall.Errno
		peer, _, errno = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if errno != 0 {
			return errno
		}
		return nil
	})
	if err == nil {
		slave = os.NewFile(peer, "pty")
		err = slave.Chown(int(u.uid), -1)
	}
	if err != nil {
		master.Close()
		if slave != nil {
			slave.Close()
		}
		return nil, nil, os.NewSyscallError("make a pseudo-terminal", err)
	}
	return master, slave, nil
}

// control calls do with the descriptor of f, without making it block as Fd does.
func control(f *os.File, do func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// setSize tells a terminal its size, and programs in its foreground that it changed.
func setSize(master *os.File, size coppice.TerminalSize) error {
	return control(master, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(size.Cols), Row: uint16(size.Rows)})
	})
}

// foreground returns the process group in a terminal's foreground; 0 if there is none.
func foreground(master *os.File) (group int, err error) {
	err = control(master, func(fd int) (err error) {
		group, err = unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		return err
	})
	return group, err
}
