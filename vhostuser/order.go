//go:build amd64 || arm64

package vhostuser

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This is the only file with atomics or unsafe on shared memory.
//
// The memory model. Go's atomics are sequentially consistent on both architectures this file
// is written for: on amd64 a store is XCHG, a full barrier; on arm64 a store is STLR and a
// load LDAR, which the processor keeps in program order. Hence a store of ours followed by a
// load of a guest's word needs no fence of its own, and an atomic load orders every plain
// load that follows it. The plain stores of put32 become visible before a later store32.
//
// Go has no 16-bit atomics. A lone 16-bit word is read as a half of the aligned 32-bit word
// around it, which may reach two bytes beyond the ring but never beyond the page. Words that
// we write cover their whole 32 bits, but one: avail_event ends the used ring and the two
// bytes behind it are the guest's, so swap16 replaces it by compare-and-swap.
//
// Both architectures are little-endian, as virtio 1 is in memory; the constraint at the head
// of the file keeps others from building.

// at is the address of n bytes at off. The slice expression is the bounds check.
func at(b []byte, off, n int) unsafe.Pointer { return unsafe.Pointer(&b[off : off+n : off+n][0]) }

// aligned reports whether b starts at a multiple of n, a power of two.
func aligned(b []byte, n uintptr) bool { return addressOf(b)&(n-1) == 0 }

// addressOf is where b starts in this process.
func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// bytesOf is the memory a vector names.
func bytesOf(v *unix.Iovec) []byte { return unsafe.Slice(v.Base, v.Len) }

// load16 reads an aligned 16-bit word and orders later accesses behind it.
func load16(b []byte, off int) uint16 {
	word, shift := around(b, off)
	return uint16(atomic.LoadUint32(word) >> shift)
}

// load32 reads an aligned 32-bit word and orders later accesses behind it.
func load32(b []byte, off int) uint32 { return atomic.LoadUint32((*uint32)(at(b, off, 4))) }

// load64 reads an aligned 64-bit word in one piece and orders later accesses behind it.
func load64(b []byte, off int) uint64 { return atomic.LoadUint64((*uint64)(at(b, off, 8))) }

// store32 publishes an aligned 32-bit word: earlier stores are visible before it, later
// loads happen after it.
func store32(b []byte, off int, v uint32) { atomic.StoreUint32((*uint32)(at(b, off, 4)), v) }

// put32 writes an aligned 32-bit word that a later store32 publishes.
func put32(b []byte, off int, v uint32) { *(*uint32)(at(b, off, 4)) = v }

// or32 sets bits of the 32-bit word; earlier stores are visible before it.
func or32(word *uint32, mask uint32) { atomic.OrUint32(word, mask) }

// swapTries bounds swap16 against a guest that writes the neighbouring bytes without pause.
const swapTries = 128

// swap16 publishes an aligned 16-bit word like store32 and leaves its neighbours as they are.
// It reports failure if the neighbours never stood still.
func swap16(b []byte, off int, v uint16) bool {
	word, shift := around(b, off)
	for range swapTries {
		old := atomic.LoadUint32(word)
		if atomic.CompareAndSwapUint32(word, old, old&^(0xffff<<shift)|uint32(v)<<shift) {
			return true
		}
	}
	return false
}

// around is the aligned 32-bit word that holds the 16-bit word at off, and how far up.
func around(b []byte, off int) (*uint32, uint32) {
	p := at(b, off, 2)
	half := uintptr(p) & 2
	return (*uint32)(unsafe.Add(p, -int(half))), uint32(half) * 8
}

// wordOf is the aligned 32-bit word of a bitmap that holds the given bit, and that bit's
// place in it. The bitmap itself may start anywhere.
func wordOf(b []byte, bit uint64) (*uint32, uint32) {
	p := at(b, int(bit/8), 1)
	byteOff := uintptr(p) & 3
	return (*uint32)(unsafe.Add(p, -int(byteOff))), uint32(byteOff)*8 + uint32(bit%8)
}

// loadPair reads 16 bytes, each once. They need not be aligned: an indirect table may lie
// anywhere, and no ordering is asked of it beyond the load that led to it.
func loadPair(b []byte, off int) (lo, hi uint64) {
	b = b[off : off+16]
	if aligned(b, 8) {
		return load64(b, 0), load64(b, 8)
	}
	return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
}

// maskBits is n ones from bit lo upwards; lo+n is at most 32.
func maskBits(lo, n uint32) uint32 { return uint32(1<<n-1) << lo }
