package e2e

import (
	"errors"
	"testing"
	"time"

	"github.com/coppice-vm/coppice/api"
)

// What a guest does is seen from outside, in each of the numbers.
func TestStats(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	enough := errors.New("enough")
	now := func() (stats api.Stats) {
		t.Helper()
		err := c.Stats(deadline(t), vm, time.Second, func(s api.Stats) error {
			stats = s
			return enough
		})
		if !errors.Is(err, enough) {
			t.Fatal(err)
		}
		return stats
	}
	before := now()
	const mib = 1 << 20
	sh(t, c, vm, "head -c 16M /dev/urandom >/dev/shm/memory; dd if=/dev/shm/memory of=/root/disk oflag=direct bs=1M status=none; ping -c 3 -i 0.2 -s 1400 198.19.0.1 >/dev/null; true")
	after := now()
	if used := after.CPU.UsedSeconds - before.CPU.UsedSeconds; used < 0.05 {
		t.Errorf("16 MiB of random bytes took %.3f s of processor time", used)
	}
	if grown := after.Memory.OwnBytes - before.Memory.OwnBytes; grown < 12*mib {
		t.Errorf("16 MiB of memory made %d bytes", grown)
	}
	if written := after.Disk.WrittenBytes - before.Disk.WrittenBytes; written < 16*mib {
		t.Errorf("16 MiB of disk made %d bytes", written)
	}
	if sent := after.Network.SentBytes - before.Network.SentBytes; sent < 3*1400 {
		t.Errorf("3 packets of 1400 bytes made %d", sent)
	}
	if before.InstanceID != after.InstanceID || after.Memory.SizeBytes < after.Memory.OwnBytes/2 || after.CPU.Count < 1 {
		t.Errorf("%+v, then %+v", before, after)
	}
	for end := time.Now().Add(time.Minute); ; { // what is stored is looked at every ten seconds
		s := now()
		if s.Disk.OwnBytes-before.Disk.OwnBytes >= 12*mib {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("16 MiB of disk are not stored: %+v, and before %+v", s.Disk, before.Disk)
		}
		time.Sleep(time.Second)
	}

	if _, err := c.Suspend(deadline(t), vm); err != nil {
		t.Fatal(err)
	}
	asleep := now()
	if asleep.State != api.Suspended || asleep.CPU.UsedSeconds != 0 || asleep.Memory.OwnBytes != 0 {
		t.Errorf("asleep: %+v", asleep)
	}
	if info, err := c.VM(deadline(t), vm); err != nil || info.State != api.Suspended {
		t.Errorf("to look has woken it: %+v, %v", info, err)
	}
}
