package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/coppice-vm/coppice"
)

func TestExplain(t *testing.T) {
	gone := coppice.Errorf(coppice.CodeVMNotFound, "there is no VM %q", "x").Because(errors.New("request 7"))
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("plain"), "plain"},
		{gone, `there is no VM "x" (VM_NOT_FOUND)`},
		{fmt.Errorf("web: %w", gone), `web: there is no VM "x" (VM_NOT_FOUND)`},
		{fmt.Errorf("%w at home: %w", errors.New("nobody"), gone), `nobody at home: there is no VM "x" (VM_NOT_FOUND)`},
		{errors.Join(fmt.Errorf("a: %w", gone), errors.New("b")), "a: there is no VM \"x\" (VM_NOT_FOUND)\nb"},
	} {
		if got := explain(c.err); got != c.want {
			t.Errorf("explain(%v) = %q, want %q", c.err, got, c.want)
		}
	}
}
