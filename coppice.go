// Package coppice defines the things a host keeps (VMs, captures, images,
// accounts), the ports they are kept through, and the errors everyone speaks.
//
// It imports nothing but the standard library and decides nothing: what a VM
// may do next is package lifecycle's business, and how it is done belongs to
// the adapters that implement the ports ([Store], [Accounts], [Hypervisor],
// [Pool], [Guest]). An adapter never imports another adapter.
package coppice
