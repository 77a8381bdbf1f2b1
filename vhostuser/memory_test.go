package vhostuser

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// memfd makes a memory file of n bytes, which the test may shrink again.
func memfd(t testing.TB, n int64) int {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Ftruncate(fd, n); err != nil {
		t.Fatal(err)
	}
	return fd
}

const mib = uint64(1 << 20)

// TestTableChange adds, replaces and removes regions and sees which mappings stay.
func TestTableChange(t *testing.T) {
	low, high := memfd(t, 4<<20), memfd(t, 4<<20)
	a := memRegion{guestAddr: 0, size: mib, userAddr: 1 << 40, mmapOffset: 0xc0000}
	b := memRegion{guestAddr: 4 * mib, size: 2 * mib, userAddr: 1<<40 + 8*mib, mmapOffset: mib + 4096}
	var none *memTable
	one, err := none.with(a, low)
	must(t, err)
	two, err := one.with(b, high)
	must(t, err)
	if two.len() != 2 || one.len() != 1 || !two.keeps(one) || one.keeps(two) {
		t.Error("adding a region disturbs others")
	}
	same, err := two.with(a, low)
	must(t, err)
	if same != two {
		t.Error("an equal region makes a new table")
	}

	// The region's bytes are the file's from mmapOffset on.
	if _, err := unix.Pwrite(low, []byte("x"), 0xc0000+5); err != nil {
		t.Fatal(err)
	}
	if got := two.guest(5, 1); string(got) != "x" {
		t.Errorf("guest memory shows %q", got)
	}
	if host, guest, err := two.user(b.userAddr+7, 3); err != nil || guest != b.guestAddr+7 || len(host) != 3 {
		t.Errorf("user address: %d bytes, %#x, %v", len(host), guest, err)
	}

	other, err := two.with(a, high) // the same region, of another file
	must(t, err)
	if other.len() != 2 || other.keeps(two) || !other.keeps(other) {
		t.Error("a region of another file keeps the mapping")
	}
	swapped, err := replaceTable(other, []memRegion{b, a}, []int{high, low})
	must(t, err)
	if other.holds(swapped.regions[0].m) || !other.holds(swapped.regions[1].m) {
		t.Error("replacing the table maps an equal region again, or keeps an unequal one")
	}
	gone := memRegion{guestAddr: 0, size: mib, userAddr: 1 << 40} // offset 0, as QEMU sends it
	less, err := swapped.without(gone)
	must(t, err)
	if less.len() != 1 || less.guest(5, 1) != nil {
		t.Error("the region is still there")
	}
	if _, err := less.without(a); !errors.Is(err, ErrUnmapped) {
		t.Errorf("removed twice: %v", err)
	}
	two.release(other)
	other.release(swapped)
	swapped.release(less)
	less.release(nil)
	none.release(nil)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestTableRefuses : what does not fit, and that a refusal leaves the table as it was.
func TestTableRefuses(t *testing.T) {
	fd := memfd(t, int64(4*mib))
	pipe := make([]int, 2)
	must(t, unix.Pipe2(pipe, unix.O_CLOEXEC))
	defer func() { _, _ = unix.Close(pipe[0]), unix.Close(pipe[1]) }()
	var none *memTable
	table, err := none.with(memRegion{guestAddr: mib, size: mib, userAddr: 1 << 40}, fd)
	must(t, err)
	defer table.release(nil)

	top := ^uint64(0)
	for _, tt := range []struct {
		name string
		r    memRegion
		fd   int
		want error
	}{
		{"nothing", memRegion{0, 0, 0, 0}, fd, ErrLimit},
		{"huge", memRegion{0, top, 0, 0}, fd, ErrLimit},
		{"offset and size overflow", memRegion{0, mib, 0, top - mib + 2}, fd, ErrLimit},
		{"guest end overflows", memRegion{top - mib + 2, mib, 0, 0}, fd, ErrLimit},
		{"user end overflows", memRegion{0, mib, top - mib + 2, 0}, fd, ErrLimit},
		{"longer than the file", memRegion{4 * mib, 4*mib + 1, 0, 0}, fd, ErrFault},
		{"offset beyond the file", memRegion{4 * mib, mib, 0, 3*mib + 1}, fd, ErrFault},
		{"no memory file", memRegion{4 * mib, mib, 0, 0}, pipe[0], ErrNotMemory},
		{"no descriptor", memRegion{4 * mib, mib, 0, 0}, -1, unix.EBADF},
		{"guest overlap below", memRegion{mib - 4096, 8192, 0, 0}, fd, ErrOverlap},
		{"guest overlap above", memRegion{2*mib - 1, 4096, 0, 0}, fd, ErrOverlap},
		{"user overlap", memRegion{8 * mib, 4096, 1<<40 + mib - 1, 0}, fd, ErrOverlap},
	} {
		_, err := table.with(tt.r, tt.fd)
		var where *RegionError
		if !errors.Is(err, tt.want) || !errors.As(err, &where) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		good := memRegion{guestAddr: mib, size: mib, userAddr: 1 << 40}
		if _, err := replaceTable(table, []memRegion{good, tt.r}, []int{fd, tt.fd}); !errors.Is(err, tt.want) {
			t.Errorf("%s in a table: %v, want %v", tt.name, err, tt.want)
		}
	}
	if table.guest(mib, 1)[0] != 0 { // still mapped after the refusals
		t.Error("the table changed")
	}
	twice := memRegion{guestAddr: 8 * mib, size: mib, userAddr: 1 << 41}
	if _, err := replaceTable(nil, []memRegion{twice, twice}, []int{fd, fd}); !errors.Is(err, ErrOverlap) {
		t.Errorf("a region twice in one table: %v", err)
	}
	if _, err := replaceTable(nil, []memRegion{twice}, nil); !errors.Is(err, ErrLimit) {
		t.Errorf("a region without a descriptor: %v", err)
	}
}

// TestTableLimit : no more than maxRegions.
func TestTableLimit(t *testing.T) {
	fd := memfd(t, 4096)
	var table *memTable
	for i := range uint64(maxRegions) {
		next, err := table.with(memRegion{guestAddr: i << 12, size: 4096, userAddr: i << 20}, fd)
		must(t, err)
		table = next
	}
	more := memRegion{guestAddr: 1 << 40, size: 4096, userAddr: 1 << 40}
	if _, err := table.with(more, fd); !errors.Is(err, ErrLimit) {
		t.Errorf("region %d: %v", maxRegions+1, err)
	}
	if table.unsealed() != maxRegions {
		t.Error("a memfd without seals counts as sealed")
	}
	table.release(nil)
}

// TestMappingLimit : a front end cannot have so much mapped that no address space is left for
// this process. A mapping begins with its file, so the offset counts too.
func TestMappingLimit(t *testing.T) {
	fd := memfd(t, int64(2*maxShared))
	table := &memTable{regions: []region{
		{memRegion: memRegion{guestAddr: 0, size: maxMapping - 3*mib, mmapOffset: mib, userAddr: 0}},
	}}
	r := memRegion{guestAddr: maxMapping, size: mib, userAddr: maxMapping, mmapOffset: mib}
	more, err := table.with(r, fd)
	must(t, err)
	defer more.release(table)
	r.mmapOffset++
	if _, err := table.with(r, fd); !errors.Is(err, ErrLimit) {
		t.Errorf("one byte more than may be mapped: %v", err)
	}
	if _, err := mapDirtyLog(fd, 4096, maxShared-4095); !errors.Is(err, ErrLimit) {
		t.Errorf("a bitmap far into its file: %v", err)
	}
	if _, err := mapInflight(fd, 1<<20, maxShared-1<<20+1, 1, 128, false); !errors.Is(err, ErrLimit) {
		t.Errorf("an inflight region far into its file: %v", err)
	}
}

// TestSealed : a file that cannot shrink is known as one.
func TestSealed(t *testing.T) {
	fd := memfd(t, 4096)
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	must(t, err)
	table, err := replaceTable(nil, []memRegion{{0, 4096, 0, 0}}, []int{fd})
	must(t, err)
	defer table.release(nil)
	if table.unsealed() != 0 {
		t.Error("a sealed file counts as unsealed")
	}
}

// TestTranslateProperty compares translation with a search of all regions.
func TestTranslateProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := &memTable{}
		at := uint64(0)
		for range rapid.IntRange(0, 8).Draw(t, "regions") {
			at += uint64(rapid.IntRange(0, 3).Draw(t, "gap"))
			size := uint64(rapid.IntRange(1, 4).Draw(t, "size"))
			r := memRegion{guestAddr: at, size: size, userAddr: 1000 + 2*at}
			table = table.plus(newRegion(r, heapMapping(r.size)))
			at += r.size
		}
		for addr := range at + 3 {
			for n := uint64(1); n < 5; n++ {
				checkTranslation(t, table, addr, n)
			}
		}
	})
}

func checkTranslation(t *rapid.T, table *memTable, addr, n uint64) {
	var want []byte
	for _, r := range table.regions {
		if addr >= r.guestAddr && addr < r.guestAddr+r.size {
			want = r.host[addr-r.guestAddr:]
			want = want[:min(uint64(len(want)), n)]
		}
	}
	got := table.guest(addr, n)
	if len(got) != len(want) || len(got) > 0 && &got[0] != &want[0] {
		t.Fatalf("address %d: %d bytes, want %d", addr, len(got), len(want))
	}
	if len(want) > 0 && uint64(len(want)) == n {
		user := 1000 + 2*addr - (addr - guestOf(table, addr))
		if host, guest, err := table.user(user, n); err != nil || guest != addr || &host[0] != &want[0] {
			t.Fatalf("user address %d: guest %d, %v", user, guest, err)
		}
	}
}

// guestOf is where the region of addr starts.
func guestOf(table *memTable, addr uint64) uint64 {
	for _, r := range table.regions {
		if addr >= r.guestAddr && addr < r.guestAddr+r.size {
			return r.guestAddr
		}
	}
	return 0
}
