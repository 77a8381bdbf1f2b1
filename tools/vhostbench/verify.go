package main

import (
	"encoding/binary"
	"fmt"

	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// verifier knows what one queue wrote, in a part of the range that belongs to that queue. The
// content of a request is made from its place and the number of writes to it.
type verifier struct {
	first    uint64
	versions []uint32 // by request from first on; 0: this run has not written it
	busy     []bool   // in flight
	bs       int
	places   map[*vhosttest.Req]uint64
}

func newVerifier(at offsets, bs int) *verifier {
	return &verifier{
		first: at.first, versions: make([]uint32, at.blocks), busy: make([]bool, at.blocks), bs: bs,
		places: map[*vhosttest.Req]uint64{},
	}
}

// begin prepares a request for a place, or for the next one that is idle: the order of two
// requests in flight to the same place would be anybody's guess. False: none is idle.
func (v *verifier) begin(block uint64, r *vhosttest.Req) (uint64, bool) {
	n := uint64(len(v.busy))
	at := block - v.first
	for range n {
		if !v.busy[at] {
			v.busy[at], v.places[r] = true, at
			if r.Op == vhosttest.OpWrite {
				v.versions[at]++
				v.fill(r.Data()[:v.bs], at)
			}
			return v.first + at, true
		}
		at = (at + 1) % n
	}
	return 0, false
}

// end compares what was read.
func (v *verifier) end(r *vhosttest.Req) error {
	at, ok := v.places[r]
	if !ok { // a flush
		return nil
	}
	delete(v.places, r)
	v.busy[at] = false
	if r.Op != vhosttest.OpRead || r.Status != vhosttest.StatusOK || v.versions[at] == 0 {
		return nil
	}
	return v.compare(r.Data()[:v.bs], at)
}

// fill writes a request's content: a sequence of numbers that begins with its place and version.
func (v *verifier) fill(data []byte, at uint64) {
	x := v.start(at)
	for i := 0; i < len(data); i += 8 {
		binary.LittleEndian.PutUint64(data[i:], x)
		x = x*6364136223846793005 + 1442695040888963407
	}
}

func (v *verifier) start(at uint64) uint64 { return (v.first+at)<<32 ^ uint64(v.versions[at]) }

func (v *verifier) compare(data []byte, at uint64) error {
	x := v.start(at)
	for i := 0; i < len(data); i += 8 {
		if got := binary.LittleEndian.Uint64(data[i:]); got != x {
			return fmt.Errorf("verify: byte %d of the disk: read %#x, written %#x (write %d of this place)",
				(v.first+at)*uint64(v.bs)+uint64(i), got, x, v.versions[at])
		}
		x = x*6364136223846793005 + 1442695040888963407
	}
	return nil
}
