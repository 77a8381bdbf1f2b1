// Package probe has the points at which belay can be watched while it runs: by `belay trace`, by
// bpftrace, by anything that knows uprobes. docs/TRACING.md describes them as an interface.
//
// A point is a function that does nothing. It begins with a no-op of five bytes, which the kernel
// replaces by a call while somebody watches (an ordinary uprobe costs 70 times as much), and its
// symbol has no package in its name, so that `uprobe:/usr/bin/belay:belay_requests` finds it. Its
// arguments are where C would have them: arg0, arg1... of bpftrace, PT_REGS_PARM1... of libbpf.
// While nobody watches, a point costs what a call costs, 2 ns; whatever it is told must therefore
// be at hand already.
package probe
