package model

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
)

// Check tells what can be from what cannot.
func TestCheck(t *testing.T) {
	keep := Call{Act: Act{Verb: "keep", Arg: "1"}, Begin: 0, End: 10}
	kept := func(got string, begin, end time.Duration) Call {
		return Call{Act: Act{Verb: "kept"}, Got: got, Begin: begin, End: end}
	}
	suspend := Call{Act: Act{Verb: "suspend"}, Begin: 11, End: 12}
	broken := keep // while the VM is suspended
	broken.End, broken.Err = 12, &coppice.Error{Code: coppice.CodeUnavailable}
	for _, test := range []struct {
		what  string
		calls []Call
		want  bool
	}{
		{"what was kept", []Call{keep, kept("1", 20, 30)}, true},
		{"not yet kept", []Call{keep, kept("", 5, 30)}, true},
		{"lost", []Call{keep, kept("", 20, 30)}, false},
		{"kept over a suspend", []Call{keep, suspend, kept("1", 20, 30)}, true},
		{"kept over a stop", []Call{keep, {Act: Act{Verb: "stop"}, Begin: 11, End: 12}, {Act: Act{Verb: "start"}, Begin: 13, End: 14}, kept("1", 20, 30)}, false},
		{"used when stopped", []Call{{Act: Act{Verb: "stop"}, Begin: 11, End: 12}, kept("", 20, 30)}, false},
		{"kept late", []Call{broken, suspend, kept("", 13, 14), kept("1", 15, 16)}, true},
		{"kept late, seen in a fork", []Call{broken, suspend, kept("", 13, 14), {Act: Act{Verb: "fork"}, Got: Seen("1", New.Disk), Begin: 15, End: 16}, kept("", 17, 18)}, true},
		{"kept late and not any more", []Call{broken, suspend, kept("1", 13, 14), kept("", 15, 16)}, false},
		{"kept late, over a stop", []Call{broken, suspend, {Act: Act{Verb: "stop"}, Begin: 13, End: 14}, {Act: Act{Verb: "start"}, Begin: 15, End: 16}, kept("1", 17, 18)}, false},
		{"kept what nobody did", []Call{broken, suspend, kept("2", 13, 14)}, false},
		{"forked before", []Call{keep, {Act: Act{Verb: "fork"}, Got: Seen("", New.Disk), Begin: 11, End: 12}}, false},
		{"started when deleted", []Call{{Act: Act{Verb: "delete"}, Begin: 1, End: 2}, {Act: Act{Verb: "start"}, Begin: 3, End: 4}}, false},
	} {
		if err := Check(test.calls); (err == nil) != test.want {
			t.Errorf("%s: %v, want %v", test.what, err, test.want)
		}
	}
}

// after returns what one client asks for, one thing after the other.
func after(calls ...Call) []Call {
	for i := range calls {
		calls[i].Begin, calls[i].End = time.Duration(10*i), time.Duration(10*i+5)
	}
	return calls
}

// while returns what is asked at the same time.
func while(calls ...Call) []Call {
	for i := range calls {
		calls[i].Client, calls[i].Begin, calls[i].End = i, time.Duration(i), time.Duration(100+i)
	}
	return calls
}

// fails is a call that is answered with a code, ok one that works.
func fails(verb string, code coppice.Code) Call {
	return Call{Act: Act{Verb: verb, Arg: "2"}, Err: &coppice.Error{Code: code}}
}

func ok(verb, arg, got string) Call { return Call{Act: Act{Verb: verb, Arg: arg}, Got: got} }

// What fails for no reason that a VM can have is not explained, whatever it is.
func TestCheckFailures(t *testing.T) {
	for verb := range shares {
		for _, code := range []coppice.Code{
			coppice.CodeInternal, coppice.CodeConflict, coppice.CodeVMSuspending, coppice.CodeStillCreating, coppice.CodeUnavailable,
			coppice.CodeVMNotRunning, coppice.CodeVMDeleted, coppice.CodeVMNotFound, coppice.CodeSpawnProcess, coppice.CodeStartTimeout,
		} {
			if Check(after(fails(verb, code))) == nil {
				t.Errorf("a %s of a VM that runs, alone, may be answered %s", verb, code)
			}
			if code != coppice.CodeConflict && Check(while(fails(verb, code), ok("start", "", ""))) == nil {
				t.Errorf("a %s beside a start of a VM that runs may be answered %s", verb, code)
			}
			for other := range shares {
				explained := code == coppice.CodeConflict || code == coppice.CodeVMSuspending || code == coppice.CodeUnavailable ||
					code == coppice.CodeVMNotRunning || code == coppice.CodeVMDeleted || code == coppice.CodeVMNotFound
				if !explained && Check(while(fails(verb, code), fails(other, code))) == nil {
					t.Errorf("%s and %s at the same time may both be answered %s", verb, other, code)
				}
			}
		}
		if Check(while(fails(verb, ""), ok("kill", "", ""))) == nil {
			t.Errorf("a %s may be answered without a code", verb)
		}
	}
	stopped, lost := ok("stop", "", ""), fails("stop", coppice.CodeConflict)
	for _, test := range []struct {
		what  string
		calls []Call
		want  bool
	}{
		{"a conflict of two", while(fails("suspend", coppice.CodeConflict), ok("stop", "", "")), true},
		{"a conflict that is over", after(ok("stop", "", ""), fails("resize", coppice.CodeConflict)), false},
		{"a conflict with one that reads", while(fails("suspend", coppice.CodeConflict), ok("kept", "", "")), true},
		{"a conflict of a kill with a stop, which gives way", while(fails("kill", coppice.CodeConflict), ok("stop", "", "")), false},
		{"a conflict of two suspends, of whom one joins the other", while(fails("suspend", coppice.CodeConflict), ok("suspend", "", "")), false},
		{"a conflict of a delete, which is let through", while(fails("delete", coppice.CodeConflict), ok("stop", "", "")), false},
		{"suspending", while(fails("stop", coppice.CodeVMSuspending), ok("suspend", "", "")), true},
		{"suspending long since", after(ok("suspend", "", ""), fails("stop", coppice.CodeVMSuspending)), false},
		{"suspending, for a kill", while(fails("kill", coppice.CodeVMSuspending), ok("suspend", "", "")), false},
		{"a guest that goes", while(fails("read", coppice.CodeUnavailable), ok("suspend", "", "")), true},
		{"a guest that has gone", after(stopped, fails("read", coppice.CodeUnavailable)), false},
		{"a guest that stays", while(fails("read", coppice.CodeUnavailable), ok("fork", "", Seen("", New.Disk))), false},
		{"a connection that breaks under a fork", while(fails("fork", coppice.CodeUnavailable), ok("stop", "", "")), false},
		{"used when stopped", after(stopped, fails("kept", coppice.CodeVMNotRunning)), true},
		{"forked when stopped", after(stopped, fails("fork", coppice.CodeVMNotRunning)), false},
		{"killed when stopped", after(stopped, fails("kill", coppice.CodeVMNotRunning)), false},
		{"forked when lost", append(while(lost, ok("kill", "", "")), Call{Act: Act{Verb: "fork"}, Begin: 200, End: 300, Err: &coppice.Error{Code: coppice.CodeVMNotRunning}}), false},
		{"used when suspended", after(ok("suspend", "", ""), fails("kept", coppice.CodeVMNotRunning)), false},
		{"resized when suspended", after(ok("suspend", "", ""), fails("resize", coppice.CodeVMNotRunning)), true},
		{"what was written is not read", after(ok("write", "7", ""), fails("read", coppice.CodeInternal)), false},
		{"deleted", after(ok("delete", "", ""), fails("kept", coppice.CodeVMDeleted)), true},
	} {
		if err := Check(test.calls); (err == nil) != test.want {
			t.Errorf("%s: %v, want %v", test.what, err, test.want)
		}
	}
}

// What never worked is told from what did.
func TestNever(t *testing.T) {
	histories := map[string][]Call{"a": after(ok("stop", "", ""), fails("kill", coppice.CodeConflict)), "b": after(ok("start", "", ""))}
	never := Never(histories)
	if len(never) != len(shares)-2 || slices.Contains(never, "stop") || slices.Contains(never, "start") {
		t.Errorf("these never worked: %v", never)
	}
}

// What fails is made as small as it can be, whatever stands between what matters, and
// what need not be at the same time is not.
func TestMinimise(t *testing.T) {
	const all = "1 kept\n2 keep a\n3 read\nthen 1 suspend\n4 kill\n2 stop\n5 fork\n6 read\n"
	acts, err := Parse(all)
	if err != nil || Format(acts) != all {
		t.Fatalf("%v: read as\n%s", err, Format(acts))
	}
	verbs := func(acts []Act, want ...string) bool {
		for _, a := range acts {
			if len(want) > 0 && a.Verb == want[0] {
				want = want[1:]
			}
		}
		return len(want) == 0
	}
	got := Minimise(acts, func(acts []Act) bool {
		// A stop that comes after a kill and can be at the same time, of something kept before.
		stop := slices.IndexFunc(acts, func(a Act) bool { return a.Verb == "stop" })
		return verbs(acts, "keep", "kill", "stop") && !acts[stop].After
	})
	const want = "2 keep a\nthen 4 kill\n2 stop\n"
	if diff := cmp.Diff(want, Format(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What cannot be read is refused.
func TestParse(t *testing.T) {
	for _, text := range []string{"1", "one stop", "then stop", "1 keep a b"} {
		if acts, err := Parse(text); err == nil {
			t.Errorf("%q is %+v", text, acts)
		}
	}
}
