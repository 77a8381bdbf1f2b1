package probe

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// points are the symbols that docs/TRACING.md promises.
var points = []string{
	"belay_requests", "belay_kick", "belay_notify", "belay_flush", "belay_checkpoint_start",
	"belay_checkpoint_sealed", "belay_checkpoint_retired", "belay_rollback", "belay_resubmit",
	"belay_mirror_send", "belay_mirror_ack",
}

// noops are what a point has to begin with, for uprobes to be cheap.
var noops = map[string][]byte{
	"amd64": {0x0f, 0x1f, 0x44, 0x00, 0x00},
	"arm64": {0x1f, 0x20, 0x03, 0xd5},
}

// callAll reaches every point, and so keeps it in the binary.
func callAll(records []Request) {
	Requests(records, 1, 2)
	Kick(1, 2)
	Notify(1, 2)
	FlushRound(1, 2, 3, 4, 5)
	CheckpointStart(1, 2, 3)
	CheckpointSealed(1, 2, 3)
	CheckpointRetired(1, 2, 3)
	Rollback(1, 2, 3)
	Resubmit(1, 2, 3)
	MirrorSend(1, 2, 3)
	MirrorAck(1, 2, 3)
}

func TestPointsBeginWithNoops(t *testing.T) {
	if !Watched {
		t.Skip("this platform has no points")
	}
	callAll(make([]Request, 3))
	callAll(nil)
	// `go test` leaves the symbols of the binary that it runs out.
	path := filepath.Join(t.TempDir(), "probe.test")
	if out, err := exec.Command("go", "test", "-c", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("build this test: %v\n%s", err, out)
	}
	binary, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	symbols, err := binary.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]elf.Symbol{}
	for _, s := range symbols {
		found[s.Name] = s
	}
	want := noops[runtime.GOARCH]
	for _, name := range points {
		s, ok := found[name]
		if !ok {
			t.Errorf("there is no symbol %s", name)
			continue
		}
		got := make([]byte, len(want))
		section := binary.Sections[s.Section]
		if _, err := section.ReadAt(got, int64(s.Value-section.Addr)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s begins with % x, want % x", name, got, want)
		}
		if page := uint64(os.Getpagesize()); s.Value/page != (s.Value+uint64(len(want))-1)/page {
			t.Errorf("the no-op of %s, at %#x, lies on two pages", name, s.Value)
		}
	}
}

func TestRecordLayout(t *testing.T) {
	var r Request
	for _, f := range []struct {
		name     string
		at, want uintptr
	}{
		{"Looked", unsafe.Offsetof(r.Looked), 0},
		{"Taken", unsafe.Offsetof(r.Taken), 8},
		{"Handed", unsafe.Offsetof(r.Handed), 16},
		{"Completed", unsafe.Offsetof(r.Completed), 24},
		{"Settled", unsafe.Offsetof(r.Settled), 32},
		{"Published", unsafe.Offsetof(r.Published), 40},
		{"Device", unsafe.Offsetof(r.Device), 48},
		{"Sector", unsafe.Offsetof(r.Sector), 56},
		{"Epoch", unsafe.Offsetof(r.Epoch), 64},
		{"Bytes", unsafe.Offsetof(r.Bytes), 72},
		{"Queue", unsafe.Offsetof(r.Queue), 76},
		{"Type", unsafe.Offsetof(r.Type), 78},
		{"Status", unsafe.Offsetof(r.Status), 79},
		{"the end", unsafe.Sizeof(r), 80},
	} {
		if f.at != f.want {
			t.Errorf("%s is at byte %d, want %d", f.name, f.at, f.want)
		}
	}
}

func TestPartsAddUp(t *testing.T) {
	r := Request{Looked: 100, Taken: 110, Handed: 120, Completed: 500, Settled: 530, Published: 600, Device: 300}
	if r.Ring() != 10 || r.Store() != 120 || r.Publication() != 70 {
		t.Errorf("parts are %d, %d, %d", r.Ring(), r.Store(), r.Publication())
	}
	if sum := r.Ring() + r.Store() + r.Device + r.Publication(); sum != r.Total() {
		t.Errorf("parts add up to %d of %d", sum, r.Total())
	}
}

func TestNowIsMonotonicTime(t *testing.T) {
	var ts unix.Timespec
	before := Now()
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	after := Now()
	if at := uint64(ts.Nano()); at < before || at > after {
		t.Errorf("the kernel's clock says %d between %d and %d", at, before, after)
	}
}

func TestTypeNames(t *testing.T) {
	if Read.String() != "read" || Other.String() != "other" || NumTypes.String() != "unknown" {
		t.Errorf("names are %v, %v, %v", Read, Other, NumTypes)
	}
}

func TestPointsAllocateNothing(t *testing.T) {
	var few [8]Request
	if n := testing.AllocsPerRun(100, func() { callAll(few[:]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRequestsUnattached(b *testing.B) {
	records := make([]Request, 32)
	for b.Loop() {
		Requests(records, 0, 32)
	}
}

func BenchmarkNow(b *testing.B) {
	for b.Loop() {
		Now()
	}
}
