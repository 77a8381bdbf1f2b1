package blk

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// BenchmarkRing reads and writes 4 KiB at a time through a ring, with a guest that polls. The
// disk is a file in the page cache, or a memfd for the inline engine.
func BenchmarkRing(b *testing.B) {
	for _, kind := range []aio.Kind{aio.Uring, aio.Inline, aio.Threads} {
		for _, op := range []uint32{typeIn, typeOut} {
			for _, depth := range []int{1, 32} {
				name := fmt.Sprintf("%s/%s/depth=%d", kind, []string{"read", "write"}[op], depth)
				b.Run(name, func(b *testing.B) { benchRing(b, kind, op, depth) })
			}
		}
	}
}

func benchRing(b *testing.B, kind aio.Kind, op uint32, depth int) {
	const n = 4096
	s := serve(b, newFileStore(b, diskSize, kind == aio.Inline), Options{Engine: kind},
		vhosttest.Options{EventIdx: true, Indirect: true})
	must(b, s.disk(b, 0, 1, 1<<20).Write(0, make([]byte, diskSize)))
	var chains [][]vhosttest.Seg
	for i := range depth {
		at := s.Alloc(n+n, n)
		copy(s.Memory()[at:], header(op, uint64(i*n/512)))
		data := vhosttest.Seg{GPA: at + n, Len: n, Write: op == typeIn}
		chains = append(chains, []vhosttest.Seg{
			{GPA: at, Len: headerSize}, data, {GPA: at + headerSize, Len: statusSize, Write: true},
		})
	}
	d := s.Queue(0)
	d.SuppressCalls(true)
	free := make([]int, 0, depth)
	byID := make([]int, d.Size())
	for i := range depth {
		free = append(free, i)
	}
	left := 0
	b.SetBytes(n)
	b.ReportAllocs()
	for b.Loop() {
		for len(free) == 0 {
			id, _, ok, err := d.Poll()
			must(b, err)
			if ok {
				free = append(free, byID[id])
				left--
			} else {
				runtime.Gosched()
			}
		}
		i := free[len(free)-1]
		free = free[:len(free)-1]
		id, err := d.Add(chains[i])
		must(b, err)
		byID[id] = i
		left++
		d.Kick()
	}
	for left > 0 {
		_, _, ok, err := d.Poll()
		must(b, err)
		if ok {
			left--
		} else {
			runtime.Gosched()
		}
	}
}
