package probe

import _ "unsafe" // for go:linkname

// Now is CLOCK_MONOTONIC in nanoseconds, the clock of bpf_ktime_get_ns. It takes no system call.
//
//go:linkname Now runtime.nanotime
func Now() uint64
