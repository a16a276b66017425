package lifecycle

import "github.com/coppice-vm/coppice"

// What a VM may be sized to, whatever its account allows.
const (
	maxVCPUs     = 32
	minMemoryMiB = 512
	maxMemoryMiB = 64 << 10
	maxDiskMiB   = 1 << 20
)

// machineCodes are the codes for what can be wrong with processors and memory.
type machineCodes struct {
	vcpuRange, vcpuPower, memRange, memPower coppice.Code
}

var (
	createCodes = machineCodes{coppice.CodeVCPURange, coppice.CodeVCPUNotPower, coppice.CodeMemRange, coppice.CodeMemNotPower}
	resizeCodes = machineCodes{coppice.CodeResizeVCPURange, coppice.CodeResizeVCPUPower, coppice.CodeResizeMemRange, coppice.CodeResizeMemPower}
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
	if err := checkMachine(size, createCodes); err != nil {
		return size, err
	}
	if size.DiskMiB < from.DiskMiB || size.DiskMiB > maxDiskMiB {
		return size, coppice.Errorf(coppice.CodeRootfsRange, "the disk is %d MiB; it can be %d to %d MiB", size.DiskMiB, from.DiskMiB, maxDiskMiB).
			With("got", size.DiskMiB).With("min", from.DiskMiB).With("max", maxDiskMiB)
	}
	return size, nil
}

// resized returns the size that spec makes of one, or an error if a VM cannot
// have it. The first violation counts, in the order of sized.
func resized(size coppice.Size, spec coppice.ResizeSpec) (coppice.Size, error) {
	now := size
	if spec.VCPUs != nil {
		size.VCPUs = *spec.VCPUs
	}
	if spec.MemoryMiB != nil {
		size.MemoryMiB = *spec.MemoryMiB
	}
	if spec.DiskMiB != nil {
		size.DiskMiB = *spec.DiskMiB
	}
	if err := checkMachine(size, resizeCodes); err != nil {
		return size, err
	}
	switch {
	case size.DiskMiB < now.DiskMiB:
		return size, coppice.Errorf(coppice.CodeResizeShrinks, "the disk has %d MiB and cannot shrink to %d: ask for more, or for none at all to leave it as it is", now.DiskMiB, size.DiskMiB).
			With("currentMb", now.DiskMiB).With("requestedMb", size.DiskMiB)
	case size.DiskMiB > maxDiskMiB:
		return size, coppice.Errorf(coppice.CodeRootfsTooLarge, "the disk is to have %d MiB; it can have up to %d", size.DiskMiB, maxDiskMiB).
			With("gotGb", float64(size.DiskMiB)/1024)
	}
	return size, nil
}

// checkMachine returns an error if no VM can have such processors or memory.
func checkMachine(size coppice.Size, codes machineCodes) error {
	switch {
	case size.VCPUs < 1 || size.VCPUs > maxVCPUs:
		return coppice.Errorf(codes.vcpuRange, "vcpuCount is %d; it can be 1 to %d", size.VCPUs, maxVCPUs).
			With("got", size.VCPUs).With("max", maxVCPUs)
	case !powerOfTwo(int64(size.VCPUs)):
		return coppice.Errorf(codes.vcpuPower, "vcpuCount is %d; it must be a power of two", size.VCPUs).
			With("got", size.VCPUs)
	case size.MemoryMiB < minMemoryMiB || size.MemoryMiB > maxMemoryMiB:
		return coppice.Errorf(codes.memRange, "the memory is %d MiB; it can be %d to %d MiB", size.MemoryMiB, minMemoryMiB, maxMemoryMiB).
			With("got", size.MemoryMiB).With("min", minMemoryMiB).With("max", maxMemoryMiB)
	case !powerOfTwo(size.MemoryMiB):
		return coppice.Errorf(codes.memPower, "the memory is %d MiB; it must be a power of two", size.MemoryMiB).
			With("got", size.MemoryMiB)
	}
	return nil
}

func powerOfTwo(n int64) bool { return n > 0 && n&(n-1) == 0 }
