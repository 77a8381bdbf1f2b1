package vhostuser

import "runtime/debug"

// owner knows which addresses are shared memory that may vanish.
type owner interface{ owns(addr uintptr) bool }

// recoverFault ends a frame that touches shared memory:
//
//	defer recoverFault(debug.SetPanicOnFault(true), q, &err)
//
// A front end that truncates a memory file makes every access to it raise SIGBUS, which kills
// a Go process unless the goroutine asked for a panic instead. The panic becomes err if the
// address lies in memory of o; any other is a fault of ours and goes on.
func recoverFault(previous bool, o owner, err *error) {
	debug.SetPanicOnFault(previous)
	cause := recover()
	if cause == nil {
		return
	}
	fault, ok := cause.(interface{ Addr() uintptr })
	if !ok || !o.owns(fault.Addr()) {
		panic(cause)
	}
	*err = &FaultError{Address: fault.Addr()}
}
