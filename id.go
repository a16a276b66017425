package coppice

import (
	"crypto/rand"
	"strings"
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

// An IdentityID names an identity, a restricted user of an account's VMs.
type IdentityID string

// A GrantID names a grant.
type GrantID string

// NewVMID returns a fresh random id.
func NewVMID() VMID { return VMID(randomID()) }

// NewInstanceID returns a fresh random id.
func NewInstanceID() InstanceID { return InstanceID(randomID()) }

// NewCaptureID returns a fresh random id.
func NewCaptureID() CaptureID { return CaptureID("sc-" + randomID()) }

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
