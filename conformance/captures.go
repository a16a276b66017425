package conformance

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
)

// TestCaptures examines a store of captures. open returns a new, empty one, and cleans up by t.
func TestCaptures(t *testing.T, open func(t *testing.T) Records) {
	tests := []struct {
		name string
		test func(*testing.T, Records)
	}{
		{"keeps every field", capturesKeepEveryField},
		{"knows what is not there", capturesMissing},
		{"lists an account's, oldest first", capturesList},
		{"updates", capturesUpdate},
		{"keeps id, account and creation time", capturesImmutable},
		{"refuses nonsense", capturesRefuseNonsense},
		{"refuses a VM without its base", capturesBase},
		{"drops what nothing needs", capturesDrop},
		{"does nothing once ctx has ended", capturesCanceled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.test(t, open(t)) })
	}
}

func capturesKeepEveryField(t *testing.T, s Records) {
	for _, c := range []coppice.Capture{aCapture("full"), aBareCapture("bare", coppice.SystemAccount, epoch)} {
		must(t, s.InsertCapture(t.Context(), c))
		wantCapture(t, s, c)
		if err := s.InsertCapture(t.Context(), aBareCapture(c.ID, "bob", epoch)); !errors.Is(err, coppice.ErrExists) {
			t.Errorf("second insert of %s: %v, want ErrExists", c.ID, err)
		}
		wantCapture(t, s, c)
	}
}

func capturesMissing(t *testing.T, s Records) {
	ctx := t.Context()
	if _, err := s.Capture(ctx, "nothing"); !errors.Is(err, coppice.ErrNoCapture) {
		t.Errorf("Capture: %v, want ErrNoCapture", err)
	}
	_, err := s.UpdateCapture(ctx, "nothing", func(*coppice.Capture) error {
		t.Error("change was called without a capture")
		return nil
	})
	if !errors.Is(err, coppice.ErrNoCapture) {
		t.Errorf("UpdateCapture: %v, want ErrNoCapture", err)
	}
	must(t, s.DropCapture(ctx, "nothing"))
}

func capturesList(t *testing.T, s Records) {
	for _, c := range []coppice.Capture{
		aBareCapture("young", "alice", epoch.Add(3)),
		aBareCapture("other", "bob", epoch.Add(1)),
		aBareCapture("twin-b", "alice", epoch.Add(2)),
		aBareCapture("twin-a", "alice", epoch.Add(2)),
		aBareCapture("old", "alice", epoch),
	} {
		must(t, s.InsertCapture(t.Context(), c))
	}
	for account, want := range map[coppice.AccountID][]coppice.CaptureID{
		"":      {"old", "other", "twin-a", "twin-b", "young"},
		"alice": {"old", "twin-a", "twin-b", "young"},
		"carol": nil,
	} {
		captures, err := s.Captures(t.Context(), account)
		must(t, err)
		var got []coppice.CaptureID
		for _, c := range captures {
			got = append(got, c.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("captures of %q, wanted (-) and got (+):\n%s", account, diff)
		}
	}
}

func capturesUpdate(t *testing.T, s Records) {
	before := aBareCapture("c", "alice", epoch)
	must(t, s.InsertCapture(t.Context(), before))
	after := aCapture("c")
	got, err := s.UpdateCapture(t.Context(), "c", func(c *coppice.Capture) error {
		if diff := cmp.Diff(before, *c); diff != "" {
			t.Errorf("the row (-) and what change was given (+):\n%s", diff)
		}
		*c = after
		return nil
	})
	must(t, err)
	if diff := cmp.Diff(after, got); diff != "" {
		t.Errorf("what change wrote (-) and UpdateCapture returned (+):\n%s", diff)
	}
	wantCapture(t, s, after)

	refused := errors.New("refused")
	_, err = s.UpdateCapture(t.Context(), "c", func(c *coppice.Capture) error { c.Name = "in vain"; return refused })
	if err != refused {
		t.Errorf("UpdateCapture: %v, want change's own error as it is", err)
	}
	wantCapture(t, s, after)
}

func capturesImmutable(t *testing.T, s Records) {
	c := aCapture("c")
	must(t, s.InsertCapture(t.Context(), c))
	for what, change := range map[string]func(*coppice.Capture){
		"id":            func(c *coppice.Capture) { c.ID = "other" },
		"account":       func(c *coppice.Capture) { c.Account = "bob" },
		"creation time": func(c *coppice.Capture) { c.CreatedAt = c.CreatedAt.Add(1) },
	} {
		if _, err := s.UpdateCapture(t.Context(), "c", func(c *coppice.Capture) error { change(c); return nil }); err == nil {
			t.Errorf("UpdateCapture let the %s change", what)
		}
		wantCapture(t, s, c)
	}
}

func capturesRefuseNonsense(t *testing.T, s Records) {
	sane := aCapture("sane")
	must(t, s.InsertCapture(t.Context(), sane))
	for what, spoil := range map[string]func(*coppice.Capture){
		"no account":          func(c *coppice.Capture) { c.Account = "" },
		"no creation time":    func(c *coppice.Capture) { c.CreatedAt = time.Time{} },
		"no size":             func(c *coppice.Capture) { c.Size = coppice.Size{} },
		"persistence":         func(c *coppice.Capture) { c.Persistence.Type = "forever" },
		"priority":            func(c *coppice.Capture) { c.Persistence.Priority = -1 },
		"delete event":        func(c *coppice.Capture) { c.Persistence.DeleteEvent = "OnWhim" },
		"no id, on insertion": func(c *coppice.Capture) { c.ID = "" },
	} {
		if _, err := s.UpdateCapture(t.Context(), "sane", func(c *coppice.Capture) error { spoil(c); return nil }); err == nil {
			t.Errorf("%s: UpdateCapture took it", what)
		}
		wantCapture(t, s, sane)
		spoiled := aCapture("spoiled")
		spoil(&spoiled)
		if err := s.InsertCapture(t.Context(), spoiled); err == nil || errors.Is(err, coppice.ErrExists) {
			t.Errorf("%s: InsertCapture: %v", what, err)
		}
	}
}

func capturesBase(t *testing.T, s Records) {
	must(t, s.InsertCapture(t.Context(), aBareCapture("there", "alice", epoch)))
	vm := aBareVM("vm", "alice", epoch)
	vm.Base = "nowhere"
	if err := s.InsertVM(t.Context(), vm); !errors.Is(err, coppice.ErrNoCapture) {
		t.Errorf("InsertVM: %v, want ErrNoCapture", err)
	}
	vm.Base = "there"
	insert(t, s, vm)
	_, err := s.UpdateVM(t.Context(), "vm", func(vm *coppice.VM) error { vm.Base = "nowhere"; return nil })
	if !errors.Is(err, coppice.ErrNoCapture) {
		t.Errorf("UpdateVM: %v, want ErrNoCapture", err)
	}
	wantVM(t, s, vm)
}

func capturesDrop(t *testing.T, s Records) {
	ctx := t.Context()
	c := aBareCapture("c", "alice", epoch)
	c.Keep = true
	must(t, s.InsertCapture(ctx, c))
	vm := aBareVM("vm", "alice", epoch)
	vm.Base = "c"
	insert(t, s, vm)
	setKeep := func(keep bool) {
		t.Helper()
		_, err := s.UpdateCapture(ctx, "c", func(c *coppice.Capture) error { c.Keep = keep; return nil })
		must(t, err)
	}
	setBase := func(base coppice.CaptureID) {
		t.Helper()
		_, err := s.UpdateVM(ctx, "vm", func(vm *coppice.VM) error { vm.Base = base; return nil })
		must(t, err)
	}
	wantInUse := func(why string) {
		t.Helper()
		if err := s.DropCapture(ctx, "c"); !errors.Is(err, coppice.ErrInUse) {
			t.Errorf("%s: %v, want ErrInUse", why, err)
		}
	}

	wantInUse("kept, and a VM needs it")
	setKeep(false)
	wantInUse("a VM needs it")
	setKeep(true)
	setBase("")
	wantInUse("kept")
	wantCapture(t, s, c)

	bystander := aBareCapture("bystander", "alice", epoch)
	must(t, s.InsertCapture(ctx, bystander))
	setKeep(false)
	for range 2 {
		must(t, s.DropCapture(ctx, "c"))
		if _, err := s.Capture(ctx, "c"); !errors.Is(err, coppice.ErrNoCapture) {
			t.Errorf("the dropped capture: %v, want ErrNoCapture", err)
		}
	}
	wantCapture(t, s, bystander)
}

func capturesCanceled(t *testing.T, s Records) {
	c := aCapture("c")
	c.Keep = false
	must(t, s.InsertCapture(t.Context(), c))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, readErr := s.Capture(ctx, "c")
	_, listErr := s.Captures(ctx, "")
	_, updateErr := s.UpdateCapture(ctx, "c", func(c *coppice.Capture) error { c.Name = "late"; return nil })
	for what, err := range map[string]error{
		"Capture": readErr, "Captures": listErr, "UpdateCapture": updateErr,
		"InsertCapture": s.InsertCapture(ctx, aCapture("late")), "DropCapture": s.DropCapture(ctx, "c"),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", what, err)
		}
	}
	wantCapture(t, s, c)
}

func wantCapture(t *testing.T, s coppice.Captures, want coppice.Capture) {
	t.Helper()
	got, err := s.Capture(t.Context(), want.ID)
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("wanted capture (-) and the one there is (+):\n%s", diff)
	}
}
