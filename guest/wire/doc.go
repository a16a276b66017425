// Package wire is what the host and the agent in a guest say to each other,
// and how, over the one byte stream that a virtio-serial port is.
//
// There are three layers. A [Conn] is a stream that both ends know to be new:
// the host end of the port is replaced whenever the VM is forked, resumed or
// found again by a new daemon, and then either end may still read what was
// meant for the end before, cut at any byte. On a Conn runs a yamux session,
// so that no slow reader holds up another. On each of its streams one [Request]
// goes to the guest, followed by [Frame]s whose meaning depends on the [Op].
//
// Neither end polls, and every length is checked before it is believed.
package wire
