package checkpoint

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/disktest"
)

func samplePair() *pairRecord {
	return &pairRecord{id: sampleID, sequence: 6, PairState: PairState{
		Pair: "web", Role: RoleSecondary, Generation: 7, Syncing: true, Poisoned: true, Why: "lost its monitor",
		Common: 17, Epoch: 4711, Peer: [16]byte{1, 2, 3}, Changed: time.Unix(0, 1763640000000000005).UTC(),
	}}
}

// pairVolume makes a volume on a disk that lies.
func pairVolume(t *testing.T, seed uint64) *disktest.Disk {
	t.Helper()
	disk := disktest.New(seed)
	o := CreateOptions{Size: 1 << 20, JournalSize: journalArea + minJournalArea}
	if err := CreateOn(fakeFS{disk}, o); err != nil {
		t.Fatal(err)
	}
	return disk
}

func openPaired(disk *disktest.Disk, o Options) (*Store, error) {
	o.ByHand, o.tuning = true, &tuning{regionSlots: 8, growSlots: 64, minSlack: 64, unprovenBlocks: 100}
	return OpenOn(fakeFS{disk}, o)
}

// TestPairState takes a volume into a pair and out of it again; after each operation of the disk
// the process or the machine ends: what is found is what was there before or what is to be, and
// once SetPair has returned, the latter.
func TestPairState(t *testing.T) {
	states := []PairState{
		{Pair: "web", Role: RoleSecondary, Generation: 3, Syncing: true},
		{Pair: "web", Role: RoleSecondary, Generation: 3, Common: 5, Epoch: 9},
		{Pair: "web", Role: RoleSecondary, Generation: 4, Poisoned: true, Why: "no seal"},
		{}, // unpaired
		{Pair: "other", Role: RolePrimary, Generation: 1},
	}
	for seed := range uint64(20) {
		disk := pairVolume(t, seed)
		s, err := openPaired(disk, Options{Pair: true})
		if err != nil {
			t.Fatal(err)
		}
		was, next := PairState{}, PairState{}
		judge := func(done bool) {
			for _, kind := range []disktest.Kind{disktest.Kill, disktest.PowerCut} {
				cut := disk.Cut(kind)
				found, err := openPaired(cut, Options{Pair: true})
				if err != nil {
					t.Fatalf("seed %d, becoming %+v: %v", seed, next, err)
				}
				got, _ := found.Pair()
				got.Changed = time.Time{}
				if got != next && (done || got != was) {
					t.Fatalf("seed %d: %+v, from %+v to %+v, done: %v", seed, got, was, next, done)
				}
				abandon(found)
				cut.Close()
			}
		}
		disk.Hook(func(int) { judge(false) })
		for _, next = range states {
			if next == (PairState{}) {
				err = s.Unpair()
			} else {
				err = s.SetPair(next)
			}
			if err != nil {
				t.Fatal(err)
			}
			judge(true)
			was = next
		}
		abandon(s)
		disk.Close()
	}
}

// TestPairRefused opens what belongs to a pair, damages it, and says nonsense.
func TestPairRefused(t *testing.T) {
	disk := pairVolume(t, 1)
	defer disk.Close()
	s, err := openPaired(disk, Options{Pair: true})
	if err != nil {
		t.Fatal(err)
	}
	good := PairState{Pair: "web", Role: RoleSecondary, Generation: 3, Poisoned: true, Why: "no seal"}
	if err := s.SetPair(good); err != nil {
		t.Fatal(err)
	}
	older := good
	older.Generation = 2
	if err := s.SetPair(older); !errors.Is(err, ErrGeneration) {
		t.Errorf("an older generation: %v", err)
	}
	for _, bad := range []PairState{{}, {Pair: "web", Generation: 3},
		{Pair: strings.Repeat("x", 129), Role: 1, Generation: 3},
		{Pair: "web", Role: 1, Generation: 3, Why: strings.Repeat("x", 257)}} {
		if err := s.SetPair(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if got, ok := s.Pair(); !ok || got.Why != good.Why || got.Generation != 3 {
		t.Errorf("%+v", got)
	}
	abandon(s)
	try := func(what string, disk *disktest.Disk, o Options, want error) {
		t.Helper()
		disk = disk.Cut(disktest.Kill)
		defer disk.Close()
		s, err := openPaired(disk, o)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if err == nil {
			abandon(s)
		}
	}
	try("serve", disk, Options{}, ErrPaired)
	try("take over", disk, Options{Takeover: true}, ErrPaired)
	try("look", disk, Options{ReadOnly: true}, nil)
	try("force", disk, Options{Force: true}, nil)
	disk.Damage(pairName, func(p []byte) { p[100] ^= 1 })
	try("with one copy damaged", disk, Options{}, ErrPaired)
	disk.Damage(pairName, func(p []byte) { p[pairGap+100] ^= 1 })
	try("with both copies damaged", disk, Options{Pair: true}, ErrCorrupt)
	try("with both copies damaged, to look", disk, Options{ReadOnly: true}, nil)
	try("with both copies damaged, force", disk, Options{Force: true}, nil)
}

// TestPairSyncFails stops the store when a change cannot be made durable.
func TestPairSyncFails(t *testing.T) {
	for k := 1; k <= 5; k++ {
		disk := pairVolume(t, 1)
		s, err := openPaired(disk, Options{Pair: true})
		if err != nil {
			t.Fatal(err)
		}
		disk.FailAt(disk.Ops()+k, unix.EIO)
		err = s.SetPair(PairState{Pair: "web", Role: RolePrimary})
		again := s.SetPair(PairState{Pair: "web", Role: RolePrimary})
		if err == nil || errors.Is(err, ErrPoisoned) != (again != nil) {
			t.Errorf("operation %d fails: %v; then %v", k, err, again)
		}
		abandon(s)
		disk.Close()
	}
}
