package sshgate

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName is how long a user name may be.
const maxName = 512

// A loginName is what the user name says that somebody logs in by.
type loginName struct {
	vm     string // an id or a name
	user   string // of the guest; empty is root
	secret string // a key or token; empty if it is to come as a password
}

// parseName reads a user name: vm[+user][:secret]. In place of the colon, which
// scp takes for its own, there may be a comma.
func parseName(s string) (name loginName, err error) {
	if len(s) > maxName || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return name, fmt.Errorf("the user name is longer than %d bytes, or no text", maxName)
	}
	who := s
	if i := strings.IndexAny(s, ":,"); i >= 0 {
		who, name.secret = s[:i], s[i+1:]
		if name.secret == "" {
			return loginName{}, fmt.Errorf("after the %q there is no key or token: want VM[+USER]%[1]sTOKEN", s[i:i+1])
		}
	}
	var named bool
	name.vm, name.user, named = strings.Cut(who, "+")
	if name.vm == "" || named && name.user == "" {
		return loginName{}, fmt.Errorf("the user name is to be VM or VM+USER")
	}
	return name, nil
}
