// Package pool gives out disks and memory files from one directory of a
// reflinking file system, and clones them by sharing blocks.
//
// The directory holds
//
//	images/ID/     image.json, and the files it names: disk, kernel, initrd
//	vms/ID/        disk.raw, memory
//	captures/ID/   disk.raw and, of a VM that ran, memory and state
//	tmp/           what is being made or removed
//
// A directory is made under tmp/ and renamed to where it belongs, so that it is
// there whole or not at all. It is removed by way of
// tmp/ too, which is emptied when the pool is opened.
//
// [EnsureFilesystem] provides the file system where the host has none that can
// share blocks.
package pool

import (
	"path/filepath"

	"github.com/coppice-vm/coppice"
)

// Names in the pool's directory. They are the format of what is on disk.
const (
	imagesDir   = "images"
	vmsDir      = "vms"
	capturesDir = "captures"
	tmpDir      = "tmp"

	diskFile   = "disk.raw"
	memoryFile = "memory"
	stateFile  = "state"
	imageFile  = "image.json"
)

func (p *Pool) path(names ...string) string {
	return filepath.Join(append([]string{p.root}, names...)...)
}

func vmFiles(dir string) coppice.VMFiles {
	return coppice.VMFiles{Disk: filepath.Join(dir, diskFile), Memory: filepath.Join(dir, memoryFile)}
}

func captureFiles(dir string) coppice.CaptureFiles {
	return coppice.CaptureFiles{
		Memory: filepath.Join(dir, memoryFile),
		State:  filepath.Join(dir, stateFile),
		Disk:   filepath.Join(dir, diskFile),
	}
}
