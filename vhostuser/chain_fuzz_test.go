package vhostuser

import (
	"encoding/binary"
	"errors"
	"testing"
)

// fuzzRing is the size of the rings that the fuzzer writes to.
const fuzzRing = 8

// fuzzSteps bounds a program: each step may cost some dozen walks of a full table.
const fuzzSteps = 48

// FuzzRing lets a guest write what it likes where descriptors, tables and indices are. The
// input is a program of 8-byte steps: what to write, where, and a small value that is mapped
// to something near an edge. After each offer the device serves all it gets.
//
// Whatever happens, nothing panics, nothing runs for ever, no vector leaves guest memory, and
// an error has one of the types a device knows.
func FuzzRing(f *testing.F) {
	f.Add(false, []byte{0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0})
	f.Add(false, step(1, 0, 1, 16, next, 0))                                 // itself next
	f.Add(false, append(step(1, 0, 2, 0, indirect, 0), step(5, 0)...))       // empty table
	f.Add(false, append(step(2, 0, 2, 32, indirect, 0), step(5, 0)...))      // nested
	f.Add(true, append(step(1, 0, 1, 16, next|flagAvail, 0), step(6, 0)...)) // endless packed chain
	f.Add(true, step(1, 0, 2, 64, indirect|flagAvail, 0))
	mem := heapTable() // made once: the executions of a process follow each other
	f.Fuzz(func(t *testing.T, packed bool, program []byte) {
		clear(guestBytes(mem, guestBase, tablesAt-guestBase+fuzzRing*tableRoom))
		program = program[:min(len(program), 8*fuzzSteps)]
		c := newDriver(mem, packed, fuzzRing, false).config()
		fl := heapFlight(1, fuzzRing, packed)
		q, err := newQueue(c, mem, heapLog(1<<16), fl)
		if err != nil {
			t.Fatal(err)
		}
		defer q.close()
		for len(program) >= 8 && q.sick == nil {
			hostileStep(mem, program[:8])
			program = program[8:]
			serveAll(t, q)
		}
		again, err := newQueue(c, mem, nil, fl) // recovery from whatever that left
		if err != nil {
			t.Fatal(err)
		}
		serveAll(t, again)
		again.close()
	})
}

// step encodes one step for the seeds.
func step(kind, index byte, more ...uint16) []byte {
	b := []byte{kind, index, 0, 0, 0, 0, 0, 0}
	for i, v := range more[:min(len(more), 3)] {
		b[2+i] = byte(v)
	}
	if len(more) > 2 {
		binary.LittleEndian.PutUint16(b[5:], more[2])
	}
	return b
}

// hostileStep does what one step says: {kind, index, address class, length class, next, flags}.
func hostileStep(mem *memTable, p []byte) {
	ring := guestBytes(mem, ringsAt, 0x30000)
	index, flags := int(p[1]%fuzzRing), binary.LittleEndian.Uint16(p[5:])
	addrs := []uint64{0, dataAt, tablesAt, guestBase + regionSize - 3, guestBase + 2*regionSize - 1,
		^uint64(0), tablesAt + 5, ringsAt}
	lens := []uint32{0, 1, 16, 32, 48, 24, 4096, 0xffffffff, 0x80000000, 16 * 1024, 16 * 1025}
	s := seg{addr: addrs[int(p[2])%len(addrs)], len: lens[int(p[3])%len(lens)]}
	switch p[0] % 7 {
	case 1: // a descriptor of the ring
		putDesc(ring, index, s, flags, uint16(p[4]))
	case 2: // a descriptor of the table, split
		putDesc(guestBytes(mem, tablesAt, tableRoom), index, s, flags, uint16(p[4]))
	case 3: // the avail index
		poke16(ring, 0x10000+2, uint16(p[1])|uint16(p[2])<<8)
	case 4: // an entry of the avail ring, or garbage in the event area
		poke16(ring, 0x10000+4+2*index, uint16(p[2])|uint16(p[3])<<8)
	case 5: // one more chain
		poke16(ring, 0x10000+2, load16(ring, 0x10000+2)+1)
	case 6: // flags of a packed descriptor, both laps
		put32(ring, index*descLen+12, uint32(p[4])|uint32(flags)<<16)
	case 0: // a descriptor of the table, packed
		table := guestBytes(mem, tablesAt, tableRoom)
		putDesc(table, index, s, uint16(p[4]), flags)
	}
}

// serveAll takes, checks and completes chains until there are none or the ring broke.
func serveAll(t *testing.T, q *Queue) {
	var c Chain
	buf := make([]byte, 32)
	for range 4 * fuzzRing {
		ok, err := q.Next(&c)
		var bad *ChainError
		var broken *RingError
		switch {
		case err != nil && !errors.As(err, &bad) && !errors.As(err, &broken):
			t.Fatalf("error of an unknown type: %v", err)
		case !ok:
			return
		}
		checkVectors(t, &c)
		_, _ = c.CopyIn(buf, 3)
		_, _ = c.CopyOut(buf[:4], 1)
		q.Complete(&c, uint32(min(c.WriteLen, 4)))
		if err := q.Publish(); err != nil && !errors.As(err, &broken) {
			t.Fatalf("Publish: %v", err)
		}
		if _, err := q.Arm(); err != nil && !errors.As(err, &broken) {
			t.Fatalf("Arm: %v", err)
		}
	}
}

func checkVectors(t *testing.T, c *Chain) {
	var total uint64
	for i := range c.iov {
		b := bytesOf(&c.iov[i])
		if len(b) == 0 || !c.owns(addressOf(b)) || !c.owns(addressOf(b)+uintptr(len(b)-1)) {
			t.Fatalf("vector %d of %d bytes leaves guest memory", i, len(b))
		}
		total += uint64(len(b))
	}
	if total != c.ReadLen+c.WriteLen || total > maxChainBytes || len(c.iov) > maxPieces {
		t.Fatalf("%d bytes in %d vectors, %d+%d announced", total, len(c.iov), c.ReadLen, c.WriteLen)
	}
}
