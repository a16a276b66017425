package qemu

import (
	"context"
	"fmt"
	"os"
)

// A loan is a file that QEMU has been given: it can open none but its own.
type loan struct {
	FD  int `json:"fd"` // its descriptor there
	Set int `json:"fdset-id"`
}

// name is what QEMU opens the file by, in the very mode that it is open in.
func (l loan) name() string { return fmt.Sprintf("/dev/fdset/%d", l.Set) }

// lend gives QEMU a file.
func (r *run) lend(ctx context.Context, f *os.File) (l loan, err error) {
	return l, r.doFile(ctx, "add-fd", nil, f, &l)
}

// takeBack has QEMU close a file, as soon as the guest runs.
func (r *run) takeBack(ctx context.Context, l loan) error {
	return r.do(ctx, "remove-fd", map[string]any{"fdset-id": l.Set}, nil)
}
