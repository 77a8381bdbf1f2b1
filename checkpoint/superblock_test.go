package checkpoint

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/disktest"
)

// newSuperblockFile returns a durable file with the superblocks of sequence 5 and 6.
func newSuperblockFile(t *testing.T, seed uint64) (fakeFS, File) {
	t.Helper()
	d := fakeFS{disktest.New(seed)}
	f, err := d.Create(superblockName)
	if err != nil {
		t.Fatal(err)
	}
	b := sampleSuperblock()
	for b.sequence = 5; b.sequence <= 6; b.sequence++ {
		if err := writeSuperblock(f, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.SyncDir(); err != nil {
		t.Fatal(err)
	}
	return d, f
}

func TestReadSuperblock(t *testing.T) {
	newest, older := superblockOffset(6), superblockOffset(5)
	stranger := func(p []byte) {
		binary.LittleEndian.PutUint32(p[8:], 2)
		binary.LittleEndian.PutUint32(p[12:], headerSum(p, saltSuperblock))
	}
	for name, c := range map[string]struct {
		damage   func(p []byte)
		sequence uint64
		err      error
	}{
		"undamaged":                {func(p []byte) {}, 6, nil},
		"newest damaged":           {func(p []byte) { p[newest+sbSlack] ^= 1 }, 5, nil},
		"newest without magic":     {func(p []byte) { p[newest] ^= 1 }, 5, nil},
		"newest: version damaged":  {func(p []byte) { p[newest+8] ^= 2 }, 5, nil},
		"older damaged":            {func(p []byte) { p[older+100] ^= 1 }, 6, nil},
		"both damaged":             {func(p []byte) { p[older+100] ^= 1; p[newest+100] ^= 1 }, 0, ErrCorrupt},
		"one damaged, one foreign": {func(p []byte) { p[older+100] ^= 1; p[newest] ^= 1 }, 0, ErrCorrupt},
		"both foreign":             {func(p []byte) { p[older] ^= 1; p[newest] ^= 1 }, 0, ErrNotVolume},
		"another version":          {func(p []byte) { stranger(p[newest : newest+superblockLen]) }, 0, ErrVersion},
		"exchanged": {func(p []byte) {
			a := string(p[:superblockLen])
			copy(p, p[superblockLen:])
			copy(p[superblockLen:], a)
		}, 0, ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			d, f := newSuperblockFile(t, 1)
			d.Damage(superblockName, c.damage)
			b, err := readSuperblock(f)
			if !errors.Is(err, c.err) || err == nil && b.sequence != c.sequence {
				t.Fatalf("%+v, %v", b, err)
			}
		})
	}
}

// A file of other content, or cut short, is an error and says which.
func TestReadSuperblockOfSomethingElse(t *testing.T) {
	for content, want := range map[string]error{
		"":                           ErrCorrupt,
		strings.Repeat("x", 8192):    ErrNotVolume,
		strings.Repeat("\x00", 8192): ErrNotVolume,
		strings.Repeat("x", 4096):    ErrCorrupt,
	} {
		d := fakeFS{disktest.New(1)}
		f, _ := d.Create(superblockName)
		f.WriteAt([]byte(content), 0)
		if _, err := readSuperblock(f); !errors.Is(err, want) {
			t.Errorf("%.8q: %v, want %v", content, err, want)
		}
	}
}

// A power cut while the superblock is written leaves the old one or the new one.
func TestSuperblockPowerCut(t *testing.T) {
	seen := map[uint64]int{}
	for seed := range uint64(200) {
		d, f := newSuperblockFile(t, seed)
		d.Hook(func(int) {
			cut := fakeFS{d.Cut(disktest.PowerCut)}
			g, err := cut.Open(superblockName, 0)
			if err != nil {
				t.Fatal(err)
			}
			b, err := readSuperblock(g)
			if err != nil {
				t.Fatal(err)
			}
			seen[b.sequence]++
		})
		b := sampleSuperblock()
		b.sequence = 7
		if err := writeSuperblock(f, b); err != nil {
			t.Fatal(err)
		}
	}
	if seen[6] == 0 || seen[7] == 0 || len(seen) != 2 {
		t.Fatal(seen)
	}
}

func TestSuperblockFailedSyncPoisons(t *testing.T) {
	d, f := newSuperblockFile(t, 1)
	d.FailAt(d.Ops()+2, unix.EIO)
	if err := writeSuperblock(f, sampleSuperblock()); !errors.Is(err, ErrPoisoned) || !errors.Is(err, unix.EIO) {
		t.Fatal(err)
	}
	if _, err := d.Open("nothing", 0); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}
