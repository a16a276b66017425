package lifecycle

import "github.com/coppice-vm/coppice"

// What a VM may be sized to, whatever its account allows.
const (
	maxVCPUs     = 32
	minMemoryMiB = 512
	maxMemoryMiB = 64 << 10
	maxDiskMiB   = 1 << 20
)

// sized returns size with zero members replaced by those of from, or an error if
// a VM cannot have it. A disk cannot be smaller than from's. The first violation
// counts: CPUs, then memory, then disk.
func sized(size, from coppice.Size) (coppice.Size, error) {
	if size.VCPUs == 0 {
		size.VCPUs = from.VCPUs
	}
	if size.MemoryMiB == 0 {
		size.MemoryMiB = from.MemoryMiB
	}
	if size.DiskMiB == 0 {
		size.DiskMiB = from.DiskMiB
	}
	switch {
	case size.VCPUs < 1 || size.VCPUs > maxVCPUs:
		return size, coppice.Errorf(coppice.CodeVCPURange, "vcpuCount is %d; it can be 1 to %d", size.VCPUs, maxVCPUs).
			With("got", size.VCPUs).With("max", maxVCPUs)
	case !powerOfTwo(int64(size.VCPUs)):
		return size, coppice.Errorf(coppice.CodeVCPUNotPower, "vcpuCount is %d; it must be a power of two", size.VCPUs).
			With("got", size.VCPUs)
	case size.MemoryMiB < minMemoryMiB || size.MemoryMiB > maxMemoryMiB:
		return size, coppice.Errorf(coppice.CodeMemRange, "the memory is %d MiB; it can be %d to %d MiB", size.MemoryMiB, minMemoryMiB, maxMemoryMiB).
			With("got", size.MemoryMiB).With("min", minMemoryMiB).With("max", maxMemoryMiB)
	case !powerOfTwo(size.MemoryMiB):
		return size, coppice.Errorf(coppice.CodeMemNotPower, "the memory is %d MiB; it must be a power of two", size.MemoryMiB).
			With("got", size.MemoryMiB)
	case size.DiskMiB < from.DiskMiB || size.DiskMiB > maxDiskMiB:
		return size, coppice.Errorf(coppice.CodeRootfsRange, "the disk is %d MiB; it can be %d to %d MiB", size.DiskMiB, from.DiskMiB, maxDiskMiB).
			With("got", size.DiskMiB).With("min", from.DiskMiB).With("max", maxDiskMiB)
	}
	return size, nil
}

func powerOfTwo(n int64) bool { return n > 0 && n&(n-1) == 0 }
