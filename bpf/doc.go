// Package bpf watches a running belay process with eBPF: programs on its probe points
// (internal/probe) and on the kernel's tracepoints count in maps where each microsecond of a
// request went. It also gives a daemon memory for its always-on counters that other programs can
// read.
//
// The programs are C, in c/, compiled by `make generate`; objects and loaders are committed.
// docs/TRACING.md describes points, maps and pins.
//
// Everything here needs privilege and a kernel that has it; what is missing is said by an error of
// type *Missing or by Tracer.Notes. The daemon itself needs none of it.
package bpf

//go:generate ../scripts/generate
