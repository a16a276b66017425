// Package mem implements every port in memory: twins of the real adapters,
// for tests that want the port's behaviour without root, QEMU or a disk. Each
// twin passes the exam of package conformance that the real one passes.
package mem
