package blk

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// Nothing is allocated per request: reads, writes and errors, ordinary and oddly cut, through a
// real ring and each engine. Flushes are left out: this store's answer costs a system call that
// allocates, on its own goroutine.
func TestNothingIsAllocatedPerRequest(t *testing.T) {
	for _, front := range []vhosttest.Options{
		{EventIdx: true},
		{Packed: true, EventIdx: true, Indirect: true},
	} {
		eachEngine(t, Options{}, front, func(t *testing.T, s *served) {
			d := s.Queue(0)
			chains := sampleChains(s)
			batch := func() {
				for range 3 {
					for _, segs := range chains {
						if _, err := d.Add(segs); err != nil {
							t.Fatal(err)
						}
					}
				}
				if _, err := unix.Write(d.KickFD(), oneKick); err != nil {
					t.Fatal(err)
				}
				for left := 3 * len(chains); left > 0; {
					_, _, ok, err := d.Poll()
					if err != nil {
						t.Fatal(err)
					}
					if ok {
						left--
					} else {
						runtime.Gosched()
					}
				}
			}
			for range 20 { // every request object is used and grows as far as it has to
				batch()
			}
			if got := allocations(200, batch); got != 0 {
				t.Fatalf("%v allocations per batch of %d", got, 3*len(chains))
			}
		})
	}
}

// allocations is testing.AllocsPerRun without its one processor, which the worker would hold while
// it waits.
func allocations(runs uint64, f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return (after.Mallocs - before.Mallocs) / runs
}

var oneKick = []byte{1, 0, 0, 0, 0, 0, 0, 0}

// sampleChains are a read, a write, a read of too much and a write cut into many pieces.
func sampleChains(s *served) (chains [][]vhosttest.Seg) {
	const n = 4096
	for _, row := range []struct {
		header []byte
		data   int // readable
		room   int // writable
		pieces int
	}{
		{header(typeIn, 8), 0, n, 1},
		{header(typeOut, 16), n, 0, 1},
		{header(typeIn, sectors), 0, n, 1},
		{header(typeOut, 32), n, 0, 12},
		{header(typeGetID, 0), 0, SerialSize, 1},
	} {
		at := s.Alloc(uint64(headerSize+row.data+row.room+1), 512)
		copy(s.Memory()[at:], row.header)
		var segs []vhosttest.Seg
		cut := func(len int, write bool) {
			for i, left := row.pieces, len; left > 0; i-- {
				n := (left + i - 1) / i
				segs = append(segs, vhosttest.Seg{GPA: at, Len: uint32(n), Write: write})
				at, left = at+uint64(n), left-n
			}
		}
		cut(headerSize+row.data, false)
		cut(row.room+1, true)
		chains = append(chains, segs)
	}
	return chains
}
