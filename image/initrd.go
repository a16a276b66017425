package image

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coppice-vm/coppice/guest/boot"
)

// drivers are what a guest needs to reach its disk, its host and its network.
var drivers = []string{"virtio_mmio", "virtio_blk", "virtio_console", "virtio_net", "virtio_rng"}

// initrd returns an initrd with the agent as process 1 and the drivers, as
// [driverArchive] packed them. The kernel unpacks one archive after the other.
// Neither is compressed: copying is faster than decompressing.
func initrd(agent, drivers []byte) []byte {
	return append(cpio([]cpioEntry{
		{name: "dev", mode: cpioDir | 0o755},
		{name: "dev/console", mode: cpioChar | 0o600, major: 5, minor: 1}, // process 1's standard output
		{name: "init", mode: cpioFile | 0o755, data: agent},
	}), drivers...)
}

// driverArchive returns an archive of the drivers and what they need, and of
// the [boot.ModuleList]. tree is a directory like /lib/modules/VERSION.
func driverArchive(tree string) ([]byte, error) {
	dep, err := os.ReadFile(filepath.Join(tree, "modules.dep"))
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(filepath.Join(tree, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	order, err := moduleOrder(string(dep), string(builtin), drivers)
	if err != nil {
		return nil, err
	}
	var entries []cpioEntry
	var list strings.Builder
	for _, file := range order {
		module, err := os.ReadFile(filepath.Join(tree, file))
		if err != nil {
			return nil, err
		}
		entries = append(entries, cpioEntry{name: path.Base(file), mode: cpioFile | 0o644, data: module})
		fmt.Fprintf(&list, "/%s\n", path.Base(file))
	}
	return cpio(append(entries, cpioEntry{
		name: strings.TrimPrefix(boot.ModuleList, "/"), mode: cpioFile | 0o644, data: []byte(list.String()),
	})), nil
}

// moduleOrder returns the files of the modules named and of all they depend
// on, each after those it needs. dep and builtin are the contents of the
// kernel's modules.dep and modules.builtin; what is built in needs no file.
func moduleOrder(dep, builtin string, names []string) ([]string, error) {
	files := map[string]string{}   // of a module
	needs := map[string][]string{} // all the files a file needs, each before those it needs itself
	for line := range strings.Lines(dep) {
		file, rest, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("modules.dep has a line without a colon: %q", line)
		}
		files[moduleName(file)] = file
		needs[file] = strings.Fields(rest)
	}
	isBuiltin := map[string]bool{}
	for line := range strings.Lines(builtin) {
		isBuiltin[moduleName(strings.TrimSpace(line))] = true
	}

	var order []string
	for _, name := range names {
		file, ok := files[name]
		if !ok && isBuiltin[name] {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("the kernel has no module %s", name)
		}
		chain := append([]string{file}, needs[file]...)
		for _, f := range slices.Backward(chain) {
			if !slices.Contains(order, f) {
				order = append(order, f)
			}
		}
	}
	return order, nil
}

// moduleName returns the name of the module in a file: virtio_rng for
// kernel/drivers/char/hw_random/virtio-rng.ko.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
}
