package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unsafe"
)

// blockSize is the unit of writing and comparing, in bytes.
const blockSize = 4096

// place is a block of a file, at one moment of its life. Generation 0 is never written.
type place struct {
	File, Block, Generation uint64
}

// fill writes what the block has to hold.
func (p place) fill(b []byte) {
	binary.LittleEndian.PutUint64(b, p.File)
	binary.LittleEndian.PutUint64(b[8:], p.Block)
	binary.LittleEndian.PutUint64(b[16:], p.Generation)
	// xorshift64*, from a seed that is another one for each place and never zero.
	x := (p.File<<40^p.Block<<20^p.Generation)*0x9e3779b97f4a7c15 | 1
	for i := 24; i < blockSize; i += 8 {
		x ^= x >> 12
		x ^= x << 25
		x ^= x >> 27
		binary.LittleEndian.PutUint64(b[i:], x*0x2545f4914f6cdd1d)
	}
}

// judge compares a block that was read with what it has to hold; scratch is a block's room.
func (p place) judge(b, scratch []byte) error {
	found := place{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]),
		binary.LittleEndian.Uint64(b[16:])}
	if found == (place{}) {
		return fmt.Errorf("empty, want generation %d", p.Generation)
	}
	if found.File != p.File || found.Block != p.Block {
		return fmt.Errorf("it is file %d block %d generation %d", found.File, found.Block, found.Generation)
	}
	if found.fill(scratch); !bytes.Equal(b, scratch) {
		return fmt.Errorf("generation %d, torn, want %d", found.Generation, p.Generation)
	}
	if found.Generation != p.Generation {
		return fmt.Errorf("generation %d, want %d", found.Generation, p.Generation)
	}
	return nil
}

// aligned is memory as O_DIRECT wants it.
func aligned(size int) []byte {
	b := make([]byte, size+blockSize)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (blockSize - 1)
	return b[skip : skip+uintptr(size)]
}
