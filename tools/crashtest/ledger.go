package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
)

const sectorSize = 512

// version numbers the writes of a run. Version 0 is a sector of zeros.
type version uint32

// sector is what the ledger knows of one sector.
type sector struct {
	may  []version // contents that a read may find; more than one after an unfinished write
	busy bool      // a request for it is in flight
}

// ledger holds what was acknowledged. It is shared by the goroutines of all queues.
type ledger struct {
	seed uint32

	mu      sync.Mutex // guards what follows
	sectors []sector
	next    version
}

func newLedger(seed uint32, sectors int) *ledger {
	l := &ledger{seed: seed, sectors: make([]sector, sectors), next: 1}
	for i := range l.sectors {
		l.sectors[i].may = []version{0}
	}
	return l
}

// reserve marks a range busy if all of it is idle: two writes of one sector at the same time
// have no order, so that there would be nothing to check.
func (l *ledger) reserve(first, n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sectors[first : first+n] {
		if s.busy {
			return false
		}
	}
	for i := range n {
		l.sectors[first+i].busy = true
	}
	return true
}

// begin notes that a range may hold a new version from now on, which it returns; with
// zeroes, the version is 0.
func (l *ledger) begin(first, n int, zeroes bool) version {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := version(0)
	if !zeroes {
		v = l.next
		l.next++
	}
	for i := range n {
		s := &l.sectors[first+i]
		s.may = append(s.may, v)
	}
	return v
}

// settle notes that a write of v was acknowledged: a range holds it and nothing else.
func (l *ledger) settle(first, n int, v version) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range n {
		s := &l.sectors[first+i]
		s.may = append(s.may[:0], v)
	}
}

// release makes a range idle again.
func (l *ledger) release(first, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range n {
		l.sectors[first+i].busy = false
	}
}

// releaseAll makes every sector idle: the front end died with its requests.
func (l *ledger) releaseAll() { l.release(0, len(l.sectors)) }

// misread is a sector that holds what nobody may find there.
type misread struct {
	sector int
	found  string
	may    []version
}

func (m *misread) Error() string {
	return fmt.Sprintf("sector %d holds %s; it may hold only %v", m.sector, m.found, m.may)
}

// check compares what a read found with the ledger, and remembers which of several possible
// contents it was: from now on that one must stay.
func (l *ledger) check(first int, data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var want [sectorSize]byte
	for i := 0; i*sectorSize < len(data); i++ {
		got := data[i*sectorSize : (i+1)*sectorSize]
		if !l.resolve(first+i, got, &want) {
			return &misread{first + i, l.describe(first+i, got), l.sectors[first+i].may}
		}
	}
	return nil
}

func (l *ledger) resolve(n int, got []byte, want *[sectorSize]byte) bool {
	s := &l.sectors[n]
	for _, v := range s.may {
		l.content(want[:], n, v)
		if bytes.Equal(got, want[:]) {
			s.may = append(s.may[:0], v)
			return true
		}
	}
	return false
}

// content is what a sector holds when v was written to it: seed, version and place, then a
// sequence that depends on all three, so that a sector torn in two or out of place is seen.
func (l *ledger) content(p []byte, n int, v version) {
	if v == 0 {
		clear(p)
		return
	}
	le := binary.LittleEndian
	le.PutUint32(p, l.seed)
	le.PutUint32(p[4:], uint32(v))
	le.PutUint64(p[8:], uint64(n))
	x := uint64(l.seed)<<32 ^ uint64(v)*0x9e3779b97f4a7c15 ^ uint64(n)*0xd1342543de82ef95 | 1
	for i := 16; i < sectorSize; i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		le.PutUint64(p[i:], x)
	}
}

// fill makes the data of a write.
func (l *ledger) fill(p []byte, first int, v version) {
	for i := 0; i*sectorSize < len(p); i++ {
		l.content(p[i*sectorSize:(i+1)*sectorSize], first+i, v)
	}
}

// describe says what a wrong sector looks like.
func (l *ledger) describe(n int, got []byte) string {
	le := binary.LittleEndian
	v, place := version(le.Uint32(got[4:])), le.Uint64(got[8:])
	var want [sectorSize]byte
	l.content(want[:], n, v)
	switch {
	case bytes.Count(got, []byte{0}) == len(got):
		return "zeros"
	case le.Uint32(got) != l.seed:
		return fmt.Sprintf("% x..., which this run never wrote", got[:16])
	case place != uint64(n):
		return fmt.Sprintf("version %d of sector %d", v, place)
	case !bytes.Equal(got, want[:]):
		return fmt.Sprintf("a torn version %d", v)
	default:
		return fmt.Sprintf("version %d", v)
	}
}
