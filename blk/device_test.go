package blk

import (
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/internal/bio"
)

var update = flag.Bool("update", false, "write golden files anew")

func newDevice(t *testing.T, store Store, opts Options) *Device {
	t.Helper()
	d, err := New(store, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestConfigGolden(t *testing.T) {
	d := newDevice(t, newFileStore(t, 5<<30+512, true), Options{
		Queues: 4, SegMax: 254, SizeMax: 1 << 20, DiscardSectors: 1 << 16,
	})
	var p [configSize]byte
	if err := d.ReadConfig(p[:], 0); err != nil {
		t.Fatal(err)
	}
	got := hex.Dump(p[:])
	path := filepath.Join("testdata", "config.hex")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Fatalf("config space is\n%s\nwant\n%s", got, want)
	}
}

func TestConfigIsReadInPieces(t *testing.T) {
	d := newDevice(t, newFileStore(t, 1<<20, true), Options{})
	var whole [100]byte
	if err := d.ReadConfig(whole[:], 0); err != nil {
		t.Fatal(err)
	}
	for off := range uint32(100) {
		p := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		if err := d.ReadConfig(p, off); err != nil {
			t.Fatal(err)
		}
		for i, b := range p {
			if at := int(off) + i; at < len(whole) && b != whole[at] || at >= len(whole) && b != 0 {
				t.Fatalf("byte %d is %#x when it is read from %d on", at, b, off)
			}
		}
	}
	for _, b := range whole[configSize:] {
		if b != 0 {
			t.Fatal("there is something behind the config space")
		}
	}
	if err := d.ReadConfig(make([]byte, 8), 1<<32-1); err != nil {
		t.Fatal(err)
	}
}

func TestConfigIsReadOnlyButForTheCache(t *testing.T) {
	d := newDevice(t, newFileStore(t, 1<<20, true), Options{})
	for _, row := range []struct {
		off uint32
		p   []byte
	}{
		{0, make([]byte, 8)},
		{31, []byte{0, 0}},
		{32, nil},
		{32, []byte{0, 0}},
		{33, []byte{0}},
		{1 << 31, []byte{0}},
	} {
		var refused *ConfigError
		if err := d.WriteConfig(row.off, row.p); !errors.As(err, &refused) || refused.Offset != row.off {
			t.Errorf("writing %d bytes at %d gave %v", len(row.p), row.off, err)
		}
	}
	for _, on := range []byte{0, 1, 0, 7} {
		if err := d.WriteConfig(writebackOffset, []byte{on}); err != nil {
			t.Fatal(err)
		}
		var p [1]byte
		if err := d.ReadConfig(p[:], writebackOffset); err != nil || p[0] != min(on, 1) {
			t.Fatalf("after writing %d the cache field is %d, error %v", on, p[0], err)
		}
	}
}

// keeper is a store that remembers the write cache, or cannot.
type keeper struct {
	*fileStore
	through bool
	err     error
}

func (k *keeper) WriteThrough() (bool, error) { return k.through, nil }

func (k *keeper) SetWriteThrough(on bool) error {
	if k.err == nil {
		k.through = on
	}
	return k.err
}

// What a guest chose holds for the next device of the same store; what cannot be kept is refused
// and not half done.
func TestCacheIsKept(t *testing.T) {
	store := &keeper{fileStore: newFileStore(t, 1<<20, true)}
	d := newDevice(t, store, Options{})
	if err := d.WriteConfig(writebackOffset, []byte{0}); err != nil || !store.through {
		t.Fatal("not kept:", err)
	}
	d = newDevice(t, store, Options{})
	d.SetFeatures(featFlush | featConfigWCE)
	if !d.writeThrough() {
		t.Fatal("forgotten")
	}
	store.err = errors.New("no place for it")
	if err := d.WriteConfig(writebackOffset, []byte{1}); !errors.Is(err, store.err) || !d.writeThrough() {
		t.Fatal("switched though it could not be kept:", err)
	}
}

func TestFeatures(t *testing.T) {
	const always = featSegMax | featBlkSize | featFlush | featTopology | featConfigWCE | featMQ |
		featDiscard | featWriteZeroes
	store := newFileStore(t, 1<<20, true)
	if got := newDevice(t, store, Options{}).Features(); got != always {
		t.Errorf("features %#x, want %#x", got, always)
	}
	store.readOnly = true
	want := always | featRO | featSizeMax
	if got := newDevice(t, store, Options{SizeMax: 4096}).Features(); got != want {
		t.Errorf("features %#x, want %#x", got, want)
	}
}

// TestCacheMode is the table of section 5.2.6.2: who decides whether writes are flushed.
func TestCacheMode(t *testing.T) {
	for _, row := range []struct {
		name    string
		acked   uint64
		on      byte
		through bool
	}{
		{"neither, cache on", 0, 1, true},
		{"neither, cache off", 0, 0, true},
		{"flush, cache on", featFlush, 1, false},
		{"flush, cache off but not told", featFlush, 0, false},
		{"switch, cache on", featConfigWCE, 1, false},
		{"switch, cache off", featConfigWCE, 0, true},
		{"both, cache on", featFlush | featConfigWCE, 1, false},
		{"both, cache off", featFlush | featConfigWCE, 0, true},
	} {
		d := newDevice(t, newFileStore(t, 1<<20, true), Options{})
		d.SetFeatures(row.acked)
		if err := d.WriteConfig(writebackOffset, []byte{row.on}); err != nil {
			t.Fatal(err)
		}
		if d.writeThrough() != row.through {
			t.Errorf("%s: write-through is %v", row.name, !row.through)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	store := newFileStore(t, 1<<20, true)
	for _, row := range []struct {
		opts Options
		want string
	}{
		{Options{Queues: -1}, "number of queues -1: want 1 to 256"},
		{Options{Queues: 257}, "number of queues 257: want 1 to 256"},
		{Options{Depth: 4097}, "requests per queue 4097: want 1 to 4096"},
		{Options{SegMax: 1023}, "segments per request 1023: want 1 to 1022"},
		{Options{Serial: strings.Repeat("x", 21)}, "at most 20 printable ASCII characters"},
		{Options{Serial: "tab\t"}, `serial "tab\t": want at most 20`},
	} {
		var bad *OptionError
		if _, err := New(store, row.opts); !errors.As(err, &bad) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%+v: %v, want %q", row.opts, err, row.want)
		}
	}
}

// noLane is a store that cannot be opened.
type noLane struct{ *fileStore }

var errNoLane = errors.New("no lane")

func (noLane) NewLane(int, bio.Engine) (bio.Lane, error) { return nil, errNoLane }

// A worker that cannot start says so, every time, and leaves nothing behind.
func TestWorkerThatCannotStart(t *testing.T) {
	store := noLane{newFileStore(t, 1<<20, true)}
	for range 2 {
		d := newDevice(t, store, Options{Engine: aio.Inline})
		if err := d.workers[0].run(nil); !errors.Is(err, errNoLane) {
			t.Fatalf("run gave %v", err)
		}
	}
	d := newDevice(t, store, Options{Engine: "steam"})
	if err := d.workers[0].run(nil); err == nil || !strings.Contains(err.Error(), `"steam"`) {
		t.Fatalf("run gave %v", err)
	}
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	if err := d.workers[0].run(nil); !errors.Is(err, ErrClosed) {
		t.Fatalf("run on a closed device gave %v", err)
	}
}
