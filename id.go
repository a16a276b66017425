package coppice

import (
	"crypto/rand"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A VMID names a VM for ever: 20 characters of [a-z0-9], never used twice.
type VMID string

// An InstanceID names one run of a VM. Every start, resume and fork gets a new one.
type InstanceID string

// A CaptureID names a capture: "sc-" and 20 characters of [a-z0-9].
type CaptureID string

// An ImageID names an installed image. It is derived from the image's inputs,
// so that the same inputs give the same id on every host.
type ImageID string

// An AccountID names the owner of VMs, in the form of a UUID.
type AccountID string

// A KeyID names an API key, an IdentityID an identity, a TokenID one of its
// tokens and a GrantID what it was granted: 20 characters of [a-z0-9] each.
type (
	KeyID      string
	IdentityID string
	TokenID    string
	GrantID    string
)

// NewVMID returns a fresh random id.
func NewVMID() VMID { return VMID(randomID()) }

// NewInstanceID returns a fresh random id.
func NewInstanceID() InstanceID { return InstanceID(randomID()) }

// NewCaptureID returns a fresh random id.
func NewCaptureID() CaptureID { return CaptureID("sc-" + randomID()) }

// NewAccountID returns a fresh random id.
func NewAccountID() AccountID {
	var b [16]byte
	rand.Read(b[:])                             // never fails; see crypto/rand
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // version 4, as RFC 9562 has it
	return AccountID(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}

// NewKeyID returns a fresh random id.
func NewKeyID() KeyID { return KeyID(randomID()) }

// NewIdentityID returns a fresh random id.
func NewIdentityID() IdentityID { return IdentityID(randomID()) }

// NewTokenID returns a fresh random id.
func NewTokenID() TokenID { return TokenID(randomID()) }

// NewGrantID returns a fresh random id.
func NewGrantID() GrantID { return GrantID(randomID()) }

// Valid reports whether id has the form of a VM id. It does not say that the VM exists.
func (id VMID) Valid() bool { return validID(string(id)) }

// Valid reports whether id has the form of a capture id.
func (id CaptureID) Valid() bool {
	rest, ok := strings.CutPrefix(string(id), "sc-")
	return ok && validID(rest)
}

const idAlphabet = "0123456789abcdefghijklmnopqrstuvwxyz"

// randomID returns 20 characters of [a-z0-9]: 103 bits, enough never to meet twice.
func randomID() string {
	var id [20]byte
	for i := 0; i < len(id); {
		var b [32]byte
		rand.Read(b[:]) // never fails; see crypto/rand
		for _, c := range b {
			// 252 is the largest multiple of 36 in a byte: no character is likelier than another.
			if c < 252 && i < len(id) {
				id[i] = idAlphabet[c%36]
				i++
			}
		}
	}
	return string(id[:])
}

func validID(s string) bool {
	if len(s) != 20 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

const maxNameLength = 128

// CheckName returns an error with that code if nothing can be called so.
func CheckName(name string, code Code) error {
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	if !utf8.ValidString(name) || utf8.RuneCountInString(name) > maxNameLength || strings.ContainsFunc(name, unprintable) {
		return Errorf(code, "a name is at most %d printable characters", maxNameLength)
	}
	return nil
}
