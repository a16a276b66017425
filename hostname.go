package coppice

import "strings"

// ValidHostName reports whether name is the name of a host, as they are compared:
// two labels or more in lower case, 253 characters at most, no dot at the end. A
// name that is all digits and dots is an address and no name.
func ValidHostName(name string) bool {
	return strings.Contains(name, ".") && !strings.Contains(name, "_") && validDomain(name)
}

// validDomain reports whether name, in lower case, is a domain name with a top
// level that cannot be taken for the end of an address. Not only hosts have
// those: there may be underscores.
func validDomain(name string) bool {
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if !ValidLabel(strings.ReplaceAll(label, "_", "x")) {
			return false
		}
	}
	top := labels[len(labels)-1]
	return len(name) <= 253 && name == strings.ToLower(name) && strings.Trim(top, "0123456789") != ""
}

// ValidLabel reports whether s is one label of a host's name, in either case.
func ValidLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}
