package boot

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// loadModules loads the modules that the file list names. When it returns,
// their drivers have bound to the devices that are there.
func loadModules(list string) error {
	names, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	for name := range strings.Lines(string(names)) {
		if err := loadModule(strings.TrimSuffix(name, "\n")); err != nil {
			return err
		}
	}
	return nil
}

func loadModule(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
		return fmt.Errorf("load the kernel module %s: %w", name, err)
	}
	return nil
}
