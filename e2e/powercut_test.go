package e2e

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/api"
)

var powerCuts = flag.Int("power-cuts", 3, "how often TestPowerCut cuts the power beside right after every operation")

// A device is a file that takes what a file system writes, and keeps a log of
// every write and every flush: what the disk was at any moment can be made of it.
type device struct {
	t   *testing.T
	dir string
	log *os.File
	end int64 // of what has been read of the log
	// entries of the log, as far as it has been read.
	entries []logEntry
}

// A logEntry is a write, a discard or a flush. See the superblock and the entries
// of dm-log-writes, whose format QEMU's blklogwrites writes.
type logEntry struct {
	at    int64 // on the device
	size  int64
	data  int64 // in the log
	flags uint64
}

const (
	sector       = 512
	flagFlush    = 1 << 0
	flagDiscard  = 1 << 2
	deviceSize   = 32 << 30
	deviceFormat = "mkfs.xfs -q -m reflink=1 -s size=4096"
)

// newDevice makes a device with an empty file system, which is served until the
// end of the test, or of stop.
func newDevice(t *testing.T, dir string) (d *device, stop func()) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("FUSE serves the device that has a log of its writes, and is not there:", err)
	}
	d = &device{t: t, dir: dir, end: sector} // after the superblock
	do(t, "mkdir %[1]s && cd %[1]s && truncate -s %d start.raw && %s start.raw && cp --sparse=always start.raw disk.raw && touch device.raw log", dir, deviceSize, deviceFormat)
	server := exec.Command("qemu-storage-daemon",
		"--blockdev", "driver=file,node-name=disk,filename="+d.file("disk.raw"),
		"--blockdev", "driver=file,node-name=log,filename="+d.file("log"),
		"--blockdev", "driver=blklogwrites,node-name=logged,file=disk,log=log",
		"--export", "type=fuse,id=device,node-name=logged,writable=on,mountpoint="+d.file("device.raw"))
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		if server.ProcessState == nil {
			server.Process.Signal(unix.SIGTERM)
			server.Wait()
		}
	}
	t.Cleanup(stop)
	for end := time.Now().Add(callDeadline); ; time.Sleep(10 * time.Millisecond) {
		if info, err := os.Stat(d.file("device.raw")); err == nil && info.Size() == deviceSize {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the device does not come up")
		}
	}
	var err error
	if d.log, err = os.Open(d.file("log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.log.Close() })
	return d, stop
}

func (d *device) file(name string) string { return filepath.Join(d.dir, name) }

// mark reads on in the log, and returns how many entries there are by now.
func (d *device) mark() int {
	d.t.Helper()
	for {
		var header [4]uint64 // sector, sectors, flags, bytes of a mark
		err := binary.Read(io.NewSectionReader(d.log, d.end, sector), binary.LittleEndian, &header)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err == nil && header == [4]uint64{} {
			return len(d.entries)
		}
		if err != nil {
			d.t.Fatal(err)
		}
		e := logEntry{at: int64(header[0]) * sector, size: int64(header[1]) * sector, data: d.end + sector, flags: header[2]}
		d.entries = append(d.entries, e)
		if d.end = e.data; e.flags&flagDiscard == 0 {
			d.end += e.size
		}
	}
}

// flushed returns the number of entries up to the last flush among the first n.
func (d *device) flushed(n int) int {
	for n > 0 && d.entries[n-1].flags&flagFlush == 0 {
		n--
	}
	return n
}

// replay makes disk, which is the device after the first from entries, what it was
// after the first to.
func (d *device) replay(disk *os.File, from, to int) {
	d.t.Helper()
	for _, e := range d.entries[from:to] {
		var err error
		switch {
		case e.size == 0:
		case e.flags&flagDiscard != 0:
			err = unix.Fallocate(int(disk.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, e.at, e.size)
		default:
			_, err = io.Copy(io.NewOffsetWriter(disk, e.at), io.NewSectionReader(d.log, e.data, e.size))
		}
		if err != nil {
			d.t.Fatal(err)
		}
	}
}

// mount mounts the file system in a file as the lab's data directory.
func (l *lab) mount(file string) {
	l.t.Helper()
	l.disk = file
	do(l.t, "nsenter --mount=%s mount -o loop,noatime %s %s", l.mounts(), file, l.data)
	if !mounted(file) {
		l.t.Fatalf("%s is mounted, and does not seem so", file)
	}
}

// An acknowledged operation is one that a user was told has been done.
type acknowledged struct {
	name  string
	do    func()
	holds func(itself bool) // itself: this was the last before the power went
	mark  int               // entries in the log when it had been acknowledged
}

// The power goes right after an operation has been acknowledged, and all that was
// not flushed is lost: the operation is not.
func TestPowerCut(t *testing.T) {
	l := newLab(t)
	dir := filepath.Dir(l.data)
	device, stop := newDevice(t, filepath.Join(dir, "device"))
	l.powerCycle()
	do(t, "mkdir %s", l.data)
	l.mount(device.file("device.raw"))
	// Out of the daemon's sight, or it would ask FUSE how much room there is.
	do(t, "nsenter --mount=%s umount --lazy %s", l.mounts(), device.file("device.raw"))
	l.start("--spares", "0", "--husks", "0")

	reads := func(vm, files, want string) {
		t.Helper()
		if got := l.coppice("exec", vm, "cat "+files); got != want {
			t.Errorf("%s holds %q in %s, want %q", vm, got, files, want)
		}
	}
	const note = "echo in memory >/dev/shm/note; echo on disk >/root/note"
	var key string
	operations := []*acknowledged{
		{name: "create", do: func() { l.coppice("create", "--name", "made", "--idle-timeout", "never") }, holds: func(itself bool) {
			l.awaitState("made", api.Stopped)
			if itself {
				l.coppice("start", "made")
				reads("made", "/etc/hostname", "made")
			}
		}},
		{name: "sync in a guest", do: func() {
			l.coppice("exec", "made", note+"; sync /root/note /root")
		}, holds: func(itself bool) {
			if itself {
				l.coppice("start", "made")
				reads("made", "/root/note", "on disk")
			}
		}},
		{name: "suspend", do: func() {
			l.coppice("fork", "made", "--name", "sleeps")
			l.coppice("suspend", "sleeps")
		}, holds: func(bool) { reads("sleeps", "/dev/shm/note /root/note", "in memory\non disk") }},
		{name: "snapshot", do: func() { l.coppice("snapshot", "made", "--name", "kept") }, holds: func(bool) {
			l.coppice("create", "--from", "kept", "--name", "copy")
			reads("copy", "/dev/shm/note /root/note", "in memory\non disk")
		}},
		{name: "stop", do: func() {
			l.coppice("fork", "made", "--name", "lies")
			l.coppice("exec", "lies", "echo written by a VM that is stopped >/root/last")
			l.coppice("stop", "lies")
		}, holds: func(itself bool) {
			if itself {
				l.coppice("start", "lies")
				reads("lies", "/root/last /root/note", "written by a VM that is stopped\non disk")
			}
		}},
		{name: "resize", do: func() { l.coppice("resize", "lies", "--storage", "20G", "--memory", "2G") }, holds: func(itself bool) {
			if info := l.get("lies"); info.Sizing.MemSizeMiB != 2048 || info.Sizing.RootfsSizeMB != 20<<10 {
				t.Errorf("what was resized has %d MiB of memory and a disk of %d MiB", info.Sizing.MemSizeMiB, info.Sizing.RootfsSizeMB)
			}
			if itself {
				l.coppice("start", "lies")
				reads("lies", "/root/last", "written by a VM that is stopped")
			}
		}},
		{name: "key", do: func() { key = l.coppice("keys", "create", "laptop") }, holds: func(bool) { l.coppice("ls", "--api-key", key) }},
		{name: "delete", do: func() {
			l.coppice("fork", "made", "--name", "gone")
			l.coppice("rm", "gone")
		}, holds: func(bool) {
			if list := l.coppice("ls"); strings.Contains(list, "gone") {
				t.Errorf("what was deleted is there:\n%s", list)
			}
		}},
	}
	for _, o := range operations {
		o.do()
		o.mark = device.mark()
	}
	l.powerCycle()
	stop()
	t.Logf("the log has %d entries", device.mark())

	disk, err := os.OpenFile(device.file("start.raw"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	at := 0
	for _, cut := range cuts(device, operations) {
		device.replay(disk, at, cut.entries)
		at = cut.entries
		do(t, "cd %s && cp --sparse=always start.raw cut.raw", device.dir)
		l.mount(device.file("cut.raw"))
		l.start("--spares", "0", "--husks", "0")
		last := -1
		for i, o := range operations {
			if o.mark <= cut.until {
				last = i
			}
		}
		for i, o := range operations[:last+1] {
			o.holds(cut.acknowledges && i == last)
		}
		l.audits(cut.String())
		t.Logf("%v: %d operations had been acknowledged", cut, last+1)
		l.powerCycle()
	}
	if left := l.vmProcesses(); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

// A cut is a moment at which the power goes: what was flushed in the first entries
// of the log is on the disk, and all else is not.
type cut struct {
	entries      int
	until        int // entries that there were by then
	acknowledges bool
}

func (c cut) String() string {
	return fmt.Sprintf("at entry %d, flushed up to entry %d,", c.until, c.entries)
}

// cuts returns when the power goes: right after each operation has been
// acknowledged, and at some flushes in between, from the very first on.
func cuts(d *device, operations []*acknowledged) (all []cut) {
	for _, o := range operations {
		all = append(all, cut{d.flushed(o.mark), o.mark, true})
	}
	last := all[len(all)-1].entries
	for i := range *powerCuts {
		between := d.flushed(last * (i + 1) / (*powerCuts + 1))
		all = append(all, cut{between, between, false})
	}
	slices.SortStableFunc(all, func(a, b cut) int { return a.entries - b.entries })
	return slices.CompactFunc(all, func(a, b cut) bool { return a.entries == b.entries && !(a.acknowledges && b.acknowledges) })
}
