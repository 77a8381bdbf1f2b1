package checkpoint

import (
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
)

// Where data must be touched by the processor, it is in these three functions. Vectors point into
// memory that somebody else may take away at any moment (a truncated memfd): the fault becomes
// an error here, and nowhere else is a lock held or a structure half changed meanwhile.

// copyIn copies len(dst) bytes from byte skip of vec.
func copyIn(dst []byte, vec []unix.Iovec, skip int64) (err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	eachPiece(vec, skip, int64(len(dst)), func(p []byte) { dst = dst[copy(dst, p):] })
	return nil
}

// copyOut copies src to byte skip of vec.
func copyOut(vec []unix.Iovec, skip int64, src []byte) (err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	eachPiece(vec, skip, int64(len(src)), func(p []byte) { src = src[copy(p, src):] })
	return nil
}

// zeroOut clears n bytes from byte skip of vec.
func zeroOut(vec []unix.Iovec, skip, n int64) (err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	eachPiece(vec, skip, n, func(p []byte) { clear(p) })
	return nil
}

// catchFault turns a memory fault into bio.ErrFault and restores the goroutine's setting.
func catchFault(before bool, err *error) {
	debug.SetPanicOnFault(before)
	switch p := recover().(type) {
	case nil:
	case interface{ Addr() uintptr }:
		*err = bio.ErrFault
	default:
		panic(p) // not a fault: a fault of ours
	}
}

// eachPiece calls fn for the pieces of vec that hold n bytes from byte skip on.
func eachPiece(vec []unix.Iovec, skip, n int64, fn func([]byte)) {
	for _, v := range vec {
		size := int64(v.Len)
		if skip >= size {
			skip -= size
			continue
		}
		take := min(size-skip, n)
		if take <= 0 {
			return
		}
		fn(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(v.Base), skip)), take))
		skip, n = 0, n-take
	}
}
