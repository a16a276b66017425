package main

import (
	"strings"
	"testing"

	"github.com/coppice-vm/coppice"
)

func TestPick(t *testing.T) {
	all := []label{
		{"aaaa0000000000000001", "web"},
		{"aaab0000000000000002", "db"},
		{"bbbb0000000000000003", "db"},
		{"cccc0000000000000004", ""},
		{"web00000000000000005", "aaab0000000000000002"},
	}
	for ref, want := range map[string]string{
		"aaab0000000000000002": "aaab0000000000000002", // an id, before another's name
		"web":                  "aaaa0000000000000001", // a name, before another's prefix
		"web0":                 "web00000000000000005",
		"b":                    "bbbb0000000000000003",
		"cccc":                 "cccc0000000000000004",
	} {
		if id, err := pickLabel(all, ref); err != nil || id != want {
			t.Errorf("pick(%q) = %s, %v; want %s", ref, id, err, want)
		}
	}
	for ref, ids := range map[string][]string{
		"db": {"aaab0000000000000002", "bbbb0000000000000003"},
		"aa": {"aaaa0000000000000001", "aaab0000000000000002"},
	} {
		_, err := pickLabel(all, ref)
		for _, id := range ids {
			if err == nil || !strings.Contains(err.Error(), id) {
				t.Errorf("pick(%q): %v, want an error that names %s", ref, err, id)
			}
		}
	}
	for _, ref := range []string{"", "nobody"} {
		if id, err := pickLabel(all, ref); id != "" || coppice.CodeOf(err) != coppice.CodeVMNotFound {
			t.Errorf("pick(%q) = %s, %v", ref, id, err)
		}
	}
}

func pickLabel(all []label, ref string) (string, error) {
	return pick(all, ref, coppice.CodeVMNotFound, "VM", func(l label) label { return l })
}

func TestScript(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"echo $HOME | wc"}, "echo $HOME | wc"},
		{[]string{"echo", "$HOME", "a b"}, `echo '$HOME' 'a b'`},
		{[]string{"printf", "it's", ""}, `printf 'it'\''s' ''`},
		{[]string{"ls", "-la", "/etc/a=b"}, "ls -la /etc/a=b"},
	} {
		if got := script(c.args); got != c.want {
			t.Errorf("script(%q) = %s, want %s", c.args, got, c.want)
		}
	}
}
