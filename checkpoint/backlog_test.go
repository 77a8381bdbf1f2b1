package checkpoint

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/belay-vm/belay/internal/disktest"
)

// backlogRig is a volume of a few leaves in a disk of memory.
type backlogRig struct {
	t    *testing.T
	disk *disktest.Disk
	s    *Store
	want []byte // the disk's content
	rng  *rand.Rand
}

const backlogSize = 4 * leafBlocks * blockSize

func newBacklogRig(t *testing.T, checksums bool) *backlogRig {
	t.Helper()
	r := &backlogRig{t: t, disk: disktest.New(1), want: make([]byte, backlogSize)}
	r.rng = rand.New(rand.NewPCG(3, 4))
	o := CreateOptions{Size: backlogSize, JournalSize: 8 << 20, Checksums: checksums}
	if err := CreateOn(fakeFS{r.disk}, o); err != nil {
		t.Fatal(err)
	}
	r.open(Options{})
	for i := range 200 { // no leaf is an extent
		r.write(i * 10)
	}
	if err := r.s.Close(); err != nil {
		t.Fatal(err)
	}
	r.open(Options{})
	return r
}

func (r *backlogRig) open(o Options) {
	r.t.Helper()
	o.ByHand, o.tuning = true, &tuning{regionSlots: 4, growSlots: 16, minSlack: 16, unprovenBlocks: 1 << 30}
	var err error
	if r.s, err = OpenOn(fakeFS{r.disk}, o); err != nil {
		r.t.Fatal(err)
	}
}

// kill ends the process and opens the volume anew.
func (r *backlogRig) kill() {
	r.t.Helper()
	next := r.disk.Cut(disktest.Kill)
	abandon(r.s)
	r.disk.Close()
	r.disk = next
	r.open(Options{})
}

func (r *backlogRig) write(block int) {
	r.t.Helper()
	p := r.want[block*blockSize:][:blockSize]
	pattern(p, r.rng.Uint64())
	mustWrite(r.t, r.s, p, int64(block)*blockSize)
}

func (r *backlogRig) sync() {
	r.t.Helper()
	if err := r.s.Sync(); err != nil {
		r.t.Fatal(err)
	}
}

// end compares the content, checks the volume and lets go of it.
func (r *backlogRig) end() {
	r.t.Helper()
	wantAt(r.t, r.s, r.want, 0)
	if err := r.s.Close(); err != nil {
		r.t.Fatal(err)
	}
	report, err := checkOn(r.t.Context(), fakeFS{r.disk}, nil)
	if err != nil || len(report.Faults) > 0 {
		r.t.Fatal(err, report.Faults)
	}
	r.disk.Close()
}

// TestBacklog opens a volume after a kill: no leaf is read for it, each is made up for when it is
// needed, and all of them by background work.
func TestBacklog(t *testing.T) {
	r := newBacklogRig(t, true)
	for b := range 100 {
		r.write(b * 20)
	}
	r.kill()
	if n := r.s.owed.leaves; n != 4 {
		t.Fatalf("writes to %d leaves are owed", n)
	}
	p := make([]byte, blockSize)
	if _, err := r.s.ReadAt(p, 20*blockSize); err != nil || !bytes.Equal(p, r.want[20*blockSize:][:blockSize]) {
		t.Fatal("not what was written", err)
	}
	if n := r.s.owed.leaves; n != 3 {
		t.Fatalf("after a read from one leaf writes to %d leaves are owed", n)
	}
	if st := r.s.Status(); st.Background != "replay" {
		t.Fatal(st.Background)
	}
	r.write(1000)
	for r.s.tendOnce() {
	}
	if r.s.owing() || r.s.unordered || r.s.Status().Snapshots != 1 {
		t.Fatal("background work did not make an end of it")
	}
	r.end()
}

// TestBacklogOfReusedSlots: slots that were given up are counted until it is known where they were.
// A journal in which the same few slots are used again and again must not drive counts to their
// limit, nor must the sweeps in it that are passed over.
func TestBacklogOfReusedSlots(t *testing.T) {
	for _, points := range []bool{false, true} {
		r := newBacklogRig(t, true)
		var last uint32
		for i := range 4 * 3 * maxOwedCount * 4 {
			r.write(r.rng.IntN(4) * leafBlocks)
			if i%4 == 0 {
				r.sync()
			}
			if !points || i%8 != 0 {
				continue
			}
			p, err := r.s.Checkpoint(t.Context(), "")
			if err == nil && last != 0 {
				err = r.s.Delete(t.Context(), last)
			}
			if err != nil {
				t.Fatal(err)
			}
			last = p.ID
			for r.s.sweeps() {
				r.s.sweepOnce()
			}
			r.sync()
		}
		if r.s.stats.snapshots.Load() > 0 {
			t.Fatal("the journal is too small for this")
		}
		r.kill()
		if r.s.owed.leaves != 0 {
			t.Fatal("nothing was made up for during replay")
		}
		wantAt(t, r.s, r.want, 0)
		for r.s.tendOnce() {
		}
		r.end()
	}
}

// TestBacklogOfDamage: what is wrong with a page of the map is an error to those who need it.
func TestBacklogOfDamage(t *testing.T) {
	r := newBacklogRig(t, false)
	r.write(0)
	r.write(leafBlocks)
	r.kill()
	d := r.s.blocks.roots.rows[0].dir
	at := int64(d.elems[0].ref().page) * pageSize
	if _, err := r.s.files.pages.WriteAt(make([]byte, pageSize), at); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, blockSize)
	if _, err := r.s.ReadAt(p, 0); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	wantAt(t, r.s, r.want[leafBlocks*blockSize:][:blockSize], leafBlocks*blockSize)
	for r.s.tendOnce() {
	}
	if st := r.s.Status(); st.Error == "" || r.s.owed.leaves != 1 {
		t.Fatal("nobody is told of the damage")
	}
	if err := r.s.Close(); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	if _, err := OpenOn(fakeFS{r.disk}, Options{ReadOnly: true, ByHand: true}); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	r.disk.Close()
}
