package pool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/coppice-vm/coppice"
)

// imageRecord is the content of image.json. Files are named relative to it.
type imageRecord struct {
	Disk    string `json:"disk"`
	DiskMiB int64  `json:"diskMiB"`
	Kernel  string `json:"kernel"`
	Initrd  string `json:"initrd"`
	Cmdline string `json:"cmdline"`
}

// InstallImage adds an image: fill writes its files into the empty directory
// dir and returns the image with their names relative to dir. If the image is
// installed already, it is returned and fill is not called. An error from fill
// leaves nothing.
func (p *Pool) InstallImage(ctx context.Context, id coppice.ImageID, fill func(dir string) (coppice.Image, error)) (coppice.Image, error) {
	if image, err := p.Image(ctx, id); !errors.Is(err, coppice.ErrNoImage) {
		return image, err
	}
	err := p.create(ctx, p.imageDir(id), func(dir string) error {
		image, err := fill(dir)
		if err != nil {
			return err
		}
		if err := writeImage(dir, image); err != nil {
			return err
		}
		return syncAll(ctx, dir) // before it has its name: who finds it trusts it
	})
	if err == nil {
		err = syncFile(p.path(imagesDir))
	}
	// Another call may have been faster; then its image is as good.
	image, readErr := p.Image(ctx, id)
	if err != nil && readErr != nil {
		return coppice.Image{}, failure(fmt.Sprintf("install image %q", id), err)
	}
	return image, readErr
}

func writeImage(dir string, image coppice.Image) error {
	for _, name := range []string{image.Disk, image.Kernel, image.Initrd} {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("%q is not a name in the image's directory", name)
		}
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	record, err := json.MarshalIndent(imageRecord{
		Disk: image.Disk, DiskMiB: image.DiskMiB, Kernel: image.Kernel, Initrd: image.Initrd, Cmdline: image.Cmdline,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, imageFile), append(record, '\n'), 0o600)
}

// Image implements [coppice.Pool].
func (p *Pool) Image(ctx context.Context, id coppice.ImageID) (coppice.Image, error) {
	image, err := p.readImage(id)
	return image, failure(fmt.Sprintf("image %q", id), err)
}

func (p *Pool) readImage(id coppice.ImageID) (coppice.Image, error) {
	if name := string(id); !fs.ValidPath(name) || name == "." || strings.Contains(name, "/") {
		return coppice.Image{}, errInvalidID
	}
	dir := p.imageDir(id)
	data, err := os.ReadFile(filepath.Join(dir, imageFile))
	if errors.Is(err, os.ErrNotExist) {
		return coppice.Image{}, coppice.ErrNoImage
	}
	if err != nil {
		return coppice.Image{}, err
	}
	var r imageRecord
	if err := json.Unmarshal(data, &r); err != nil {
		return coppice.Image{}, fmt.Errorf("%s: %w", imageFile, err)
	}
	return coppice.Image{
		ID: id, Disk: filepath.Join(dir, r.Disk), DiskMiB: r.DiskMiB,
		Kernel: filepath.Join(dir, r.Kernel), Initrd: filepath.Join(dir, r.Initrd), Cmdline: r.Cmdline,
	}, nil
}

// Images lists the installed images.
func (p *Pool) Images(ctx context.Context) ([]coppice.Image, error) {
	entries, err := os.ReadDir(p.path(imagesDir))
	if err != nil {
		return nil, failure("list images", err)
	}
	var images []coppice.Image
	for _, entry := range entries {
		image, err := p.Image(ctx, coppice.ImageID(entry.Name()))
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	return images, nil
}

func (p *Pool) imageDir(id coppice.ImageID) string { return p.path(imagesDir, string(id)) }
