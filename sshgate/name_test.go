package sshgate

import (
	"strings"
	"testing"
)

func TestParseName(t *testing.T) {
	for s, want := range map[string]loginName{
		"oak":                     {vm: "oak"},
		"oak+alice":               {vm: "oak", user: "alice"},
		"oak:secret":              {vm: "oak", secret: "secret"},
		"oak+alice,secret":        {vm: "oak", user: "alice", secret: "secret"},
		"oak,a:b,c+d":             {vm: "oak", secret: "a:b,c+d"},
		"oak+a+b":                 {vm: "oak", user: "a+b"},
		"":                        {},
		"+alice":                  {},
		"oak+":                    {},
		"oak:":                    {},
		"oak+,secret":             {},
		":secret":                 {},
		"oak\n":                   {},
		"o\xffk":                  {},
		strings.Repeat("o", 1000): {},
	} {
		got, err := parseName(s)
		if got != want || (err == nil) != (want.vm != "") {
			t.Errorf("%q: %+v, %v, want %+v", s, got, err, want)
		}
	}
}

// Whatever is a name reads the same when it is written anew, and a name that is
// refused says nothing.
func FuzzParseName(f *testing.F) {
	for _, s := range []string{"oak", "oak+alice,secret", "oak:secret", "+:,", "a+b+c,:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := parseName(s)
		if err != nil {
			if name != (loginName{}) || strings.Contains(err.Error(), s) && len(s) > 6 {
				t.Errorf("%q: refused, but %+v, %v", s, name, err)
			}
			return
		}
		again := name.vm
		if name.user != "" {
			again += "+" + name.user
		}
		if name.secret != "" {
			again += "," + name.secret
		}
		if got, err := parseName(again); got != name || err != nil || len(again) != len(s) {
			t.Errorf("%q is %+v, but %q is %+v, %v", s, name, again, got, err)
		}
	})
}
