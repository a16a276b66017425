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
