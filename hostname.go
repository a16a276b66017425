package coppice

import "strings"

// ValidHostName reports whether name is the name of a host, as they are compared:
// two labels or more in lower case, 253 characters at most, no dot at the end. A
// name that is all digits and dots is an address and no name.
func ValidHostName(name string) bool {
	labels := strings.Split(name, ".")
	if len(name) > 253 || len(labels) < 2 {
		return false
	}
	for _, label := range labels {
		if !validLabel(label) {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// validLabel reports whether s is one label of a host's name.
func validLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
