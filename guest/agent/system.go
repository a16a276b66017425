package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernel is the [System] of a guest.
type kernel struct{}

func (kernel) Now() time.Time { return time.Now() }

// StepClock adds to the clock rather than setting it, so that it does not
// matter how long the call takes.
func (kernel) StepClock(by time.Duration) error {
	seconds := by / time.Second
	rest := by % time.Second
	if rest < 0 {
		seconds, rest = seconds-1, rest+time.Second
	}
	_, err := unix.Adjtimex(&unix.Timex{
		Modes: unix.ADJ_SETOFFSET | unix.ADJ_NANO,
		Time:  unix.Timeval{Sec: int64(seconds), Usec: int64(rest)}, // with ADJ_NANO it is nanoseconds
	})
	return err
}

func (kernel) Reseed(entropy []byte) error {
	random, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer random.Close()
	// struct rand_pool_info: bits, bytes, content.
	info := binary.NativeEndian.AppendUint32(nil, uint32(8*len(entropy)))
	info = binary.NativeEndian.AppendUint32(info, uint32(len(entropy)))
	info = append(info, entropy...)
	if err := ioctl(random, unix.RNDADDENTROPY, unsafe.Pointer(&info[0])); err != nil {
		return err
	}
	return ioctl(random, unix.RNDRESEEDCRNG, nil)
}

func (kernel) SetHostname(name string) error { return unix.Sethostname([]byte(name)) }

func (kernel) GrowRoot() error {
	root, err := os.Open("/")
	if err != nil {
		return err
	}
	defer root.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &stat); err != nil {
		return err
	}
	name, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev)))
	if err != nil {
		return nil // on no disk
	}
	disk, err := os.Open("/dev/" + filepath.Base(name))
	if err != nil {
		return err
	}
	defer disk.Close()
	var bytes uint64
	if err := ioctl(disk, unix.BLKGETSIZE64, unsafe.Pointer(&bytes)); err != nil {
		return err
	}
	blocks, blockSize, err := ext4Size(disk)
	if err != nil {
		return err
	}
	// Less than a megabyte may be left over at the end for good.
	if bytes < blocks*blockSize+1<<20 {
		return nil
	}
	want := bytes / blockSize
	if err := ioctl(root, ext4ResizeFS, unsafe.Pointer(&want)); err != nil {
		return fmt.Errorf("grow the root file system: %w", err)
	}
	return nil
}

// ext4ResizeFS is EXT4_IOC_RESIZE_FS, _IOW('f', 16, __u64): what resize2fs
// does to a mounted file system.
const ext4ResizeFS = 1<<30 | 8<<16 | 'f'<<8 | 16

// ext4Size returns the size of the ext4 file system on a disk.
func ext4Size(disk *os.File) (blocks, blockSize uint64, err error) {
	super := make([]byte, 1024)
	if _, err := disk.ReadAt(super, 1024); err != nil {
		return 0, 0, err
	}
	le := binary.LittleEndian
	if le.Uint16(super[0x38:]) != 0xEF53 {
		return 0, 0, errors.New("the root file system is not ext4")
	}
	blocks = uint64(le.Uint32(super[0x04:]))
	if le.Uint32(super[0x60:])&0x80 != 0 { // 64bit
		blocks |= uint64(le.Uint32(super[0x150:])) << 32
	}
	return blocks, 1024 << le.Uint32(super[0x18:]), nil
}

// PowerOff asks systemd by signal, which is documented, quick, and needs none
// of its sockets.
func (kernel) PowerOff() error {
	init, err := os.ReadFile("/proc/1/comm")
	if err != nil {
		return err
	}
	if string(init) == "systemd\n" {
		const sigrtmin = 34 // of the C library, which counts from there
		return unix.Kill(1, unix.Signal(sigrtmin+4))
	}
	return exec.Command("/sbin/poweroff").Run()
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}
