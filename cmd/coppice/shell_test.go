package main

import "testing"

func TestDetachKeys(t *testing.T) {
	for _, test := range []struct {
		typed  []string
		want   string
		detach bool
	}{
		{[]string{"ls\r"}, "ls\r", false},
		{[]string{"a\x1dd", "b"}, "a", true},
		{[]string{"a\x1d", "d"}, "a", true},
		{[]string{"\x1d\x1dd"}, "\x1dd", false},
		{[]string{"\x1d", "x\x1d"}, "\x1dx", false},
		{[]string{"d"}, "d", false},
	} {
		var keys detachKeys
		var got string
		detach := false
		for _, p := range test.typed {
			var typed []byte
			typed, detach = keys.filter([]byte(p))
			if got += string(typed); detach {
				break
			}
		}
		if got != test.want || detach != test.detach {
			t.Errorf("%q types %q, leaves: %v; want %q, %v", test.typed, got, detach, test.want, test.detach)
		}
	}
}
