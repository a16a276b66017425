// Package conformance examines implementations of the ports: one exported
// exam for each port, which the in-memory twin and the real adapter both pass.
// What an exam asserts is what the port's documentation promises, so a consumer
// tested against the twin holds against the real thing.
package conformance
