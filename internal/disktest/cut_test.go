package disktest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// cuts is enough for every allowed outcome of the small scenarios below to come up.
const cuts = 400

// outcomes collects what a file holds after many power cuts, one character per sector.
func outcomes(d *Disk, name string) map[string]int {
	seen := map[string]int{}
	for range cuts {
		p := d.Cut(PowerCut).Content(name)
		var s []byte
		for i := 0; i < len(p); i += sectorSize {
			sector := p[i:min(len(p), i+sectorSize)]
			c := '0' + sector[0]
			if !bytes.Equal(sector, fill(len(sector), sector[0])) {
				c = '!'
			}
			s = append(s, c)
		}
		seen[string(s)]++
	}
	return seen
}

func want(t *testing.T, seen map[string]int, all ...string) {
	t.Helper()
	for _, s := range all {
		if seen[s] == 0 {
			t.Errorf("never seen: %q", s)
		}
		delete(seen, s)
	}
	if len(seen) > 0 {
		t.Errorf("not allowed: %v", seen)
	}
}

func TestSyncedIsKept(t *testing.T) {
	d, f := durable(t, 1, fill(1024, 1))
	write(t, f, 512, fill(1024, 2))
	f.Sync()
	want(t, outcomes(d, "a"), "122")
}

func TestUnsyncedIsLostTornReordered(t *testing.T) {
	d, f := durable(t, 2, fill(1024, 1))
	write(t, f, 0, fill(1024, 2))
	want(t, outcomes(d, "a"), "11", "12", "21", "22")
	write(t, f, 0, fill(512, 3))
	want(t, outcomes(d, "a"), "11", "12", "21", "22", "31", "32")
}

func TestWriteInsideSectorIsWholeOrNot(t *testing.T) {
	d, f := durable(t, 3, fill(1024, 1))
	write(t, f, 500, fill(100, 2))
	for range cuts {
		p := d.Cut(PowerCut).Content("a")
		a, b := bytes.Count(p[500:512], []byte{2}), bytes.Count(p[512:600], []byte{2})
		if a != 0 && a != 12 || b != 0 && b != 88 {
			t.Fatalf("torn inside a sector: %d, %d", a, b)
		}
	}
}

func TestMappedMemoryIsTorn(t *testing.T) {
	d, f := durable(t, 4, fill(4096, 1))
	mem, err := f.Map(4096)
	if err != nil {
		t.Fatal(err)
	}
	copy(mem[3072:], fill(512, 2))
	copy(mem[3584:], fill(512, 3))
	want(t, outcomes(d, "a"), "11111111", "11111121", "11111113", "11111123")
	if !bytes.Equal(d.Cut(Kill).Content("a"), mem) {
		t.Fatal("a killed process lost mapped memory")
	}
	f.Sync()
	want(t, outcomes(d, "a"), "11111123")
	f.Unmap(mem)
	want(t, outcomes(d, "a"), "11111123")
}

// An older version of a mapped sector may be on the disk only if the kernel could see it.
func TestMappedMemoryOlderVersion(t *testing.T) {
	d, f := durable(t, 5, fill(4096, 1))
	other := create(t, d, "b", nil)
	d.SyncDir()
	mem, _ := f.Map(4096)
	mem[0] = 2
	for range 50 {
		write(t, other, 0, []byte{1})
	}
	mem[0] = 3
	seen := map[byte]int{}
	for range cuts {
		seen[d.Cut(PowerCut).Content("a")[0]]++
	}
	if len(seen) != 3 || seen[1] == 0 || seen[2] == 0 || seen[3] == 0 {
		t.Fatal(seen)
	}
}

func TestMappedAndWrittenAgree(t *testing.T) {
	d, f := durable(t, 6, fill(8192, 1))
	mem, _ := f.Map(8192)
	mem[10] = 7
	write(t, f, 4000, fill(200, 2))
	if mem[10] != 7 || mem[4000] != 2 || mem[4199] != 2 {
		t.Fatal("a write does not show in the mapping")
	}
	p := make([]byte, 8192)
	f.ReadAt(p, 0)
	if !bytes.Equal(p, mem) {
		t.Fatal("reading differs from the mapping")
	}
	if err := f.Unmap(mem); err != nil || d.Content("a")[10] != 7 {
		t.Fatal("unmap lost memory")
	}
}

func TestMapRefusesHoles(t *testing.T) {
	_, f := durable(t, 1, nil)
	f.Truncate(4096)
	if _, err := f.Map(4096); !errors.Is(err, unix.EINVAL) {
		t.Fatal(err)
	}
	f.Allocate(0, 4096)
	if _, err := f.Map(4096); err != nil {
		t.Fatal(err)
	}
}

func TestUnsyncedSizes(t *testing.T) {
	d, f := durable(t, 7, fill(512, 1))
	write(t, f, 512, fill(512, 2))
	f.Truncate(1536)
	want(t, outcomes(d, "a"), "1", "10", "12", "100", "120")
	f.Sync()
	want(t, outcomes(d, "a"), "120")
	f.Truncate(512)
	f.Truncate(1536)
	for s := range outcomes(d, "a") {
		if s[0] != '1' {
			t.Fatal(s)
		}
	}
}

func TestUnsyncedNames(t *testing.T) {
	d, _ := durable(t, 8, fill(512, 1))
	f := create(t, d, "b", fill(512, 2))
	f.Sync()
	d.Remove("a")
	seen := map[string]int{}
	for range cuts {
		c := d.Cut(PowerCut)
		a, _ := c.Exists("a")
		b, _ := c.Exists("b")
		seen[fmt.Sprint(a, b)]++
		if a && c.Content("a")[0] != 1 || b && c.Content("b")[0] != 2 {
			t.Fatal("content under a wrong name")
		}
	}
	if len(seen) != 4 {
		t.Fatal(seen)
	}
	d.SyncDir()
	c := d.Cut(PowerCut)
	if a, _ := c.Exists("a"); a {
		t.Fatal("a durable removal was lost")
	}
	if b, _ := c.Exists("b"); !b {
		t.Fatal("a durable name was lost")
	}
}

func TestUnsyncedPunch(t *testing.T) {
	d, f := durable(t, 9, fill(4096, 1))
	f.Punch(0, 4096)
	seen := outcomes(d, "a")
	if seen["11111111"] == 0 || seen["00000000"] == 0 {
		t.Fatal(seen)
	}
	f.Sync()
	want(t, outcomes(d, "a"), "00000000")
}

func TestFailedSyncForgets(t *testing.T) {
	lost := 0
	for seed := range uint64(200) {
		d, f := durable(t, seed, fill(4096, 1))
		write(t, f, 0, fill(4096, 2))
		d.FailAt(d.Ops()+1, unix.EIO)
		if err := f.Sync(); !errors.Is(err, unix.EIO) {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal("the second sync must succeed:", err)
		}
		p := d.Cut(PowerCut).Content("a")
		if !bytes.Equal(p, d.Cut(PowerCut).Content("a")) {
			t.Fatal("what a failed sync left changes later")
		}
		if !bytes.Equal(p, fill(4096, 2)) {
			lost++
		}
		d.Close()
	}
	if lost < 100 {
		t.Fatalf("only %d of 200 failed syncs lost anything", lost)
	}
}

func TestFailedWriteIsPartial(t *testing.T) {
	seen := map[int]bool{}
	for seed := range uint64(100) {
		d, f := durable(t, seed, fill(1024, 1))
		d.FailAt(d.Ops()+1, unix.EIO)
		f.WriteAt(fill(1024, 2), 0)
		seen[bytes.Count(d.Content("a"), []byte{2})] = true
	}
	if !seen[0] || !seen[512] || !seen[1024] || len(seen) != 3 {
		t.Fatal(seen)
	}
}

func TestCutsAreIndependent(t *testing.T) {
	d, f := durable(t, 10, fill(8192, 1))
	write(t, f, 100, fill(100, 2))
	kill := d.Cut(Kill)
	g, _ := kill.Open("a", false, false)
	write(t, g, 0, fill(8192, 3))
	g.Truncate(10)
	write(t, f, 4096, fill(100, 4))
	if p := d.Content("a"); len(p) != 8192 || p[0] != 1 || p[100] != 2 || p[4096] != 4 {
		t.Fatal("the copy changed the disk")
	}
	if p := kill.Content("a"); len(p) != 10 || p[0] != 3 {
		t.Fatal("the disk changed its copy")
	}
}

// What a killed process did not sync can still be lost when the power goes afterwards.
func TestKillThenPowerCut(t *testing.T) {
	d, f := durable(t, 11, fill(512, 1))
	write(t, f, 0, fill(512, 2))
	kill := d.Cut(Kill)
	if kill.BootID() != d.BootID() || kill.Content("a")[0] != 2 {
		t.Fatal("a kill must keep what was written, under the same kernel")
	}
	want(t, outcomes(kill, "a"), "1", "2")
	if kill.Cut(PowerCut).BootID() == d.BootID() {
		t.Fatal("a power cut must change the boot id")
	}
}
