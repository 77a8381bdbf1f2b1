//go:build e2e

package e2e

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/belay-vm/belay/tools/guest"
)

var tracePicture = flag.String("trace.picture", "",
	"where TestTraceGuest leaves its picture; it then takes longer, so that there is something to see")

// report is what belay trace report --json says, as far as it is of interest here.
type report struct {
	Recording struct{ Volume string }
	Summary   struct {
		Types []struct {
			Type                    string
			Requests, Bytes, Errors uint64
		}
		Events []struct {
			Kind  string
			Epoch uint64
		}
	}
	Pictures []string
}

// TestTraceGuest records a guest from its first request on: it boots, makes a file system, writes
// while three checkpoints are taken, and goes. What its own kernel counted must be in the recording.
func TestTraceGuest(t *testing.T) {
	if !mayTrace(t) {
		return
	}
	w := newWorld(t, "2G", guest.Disk{Queues: 2})
	size, apart := "16M", 500
	if *tracePicture != "" {
		size, apart = "64M", 8000
	}
	recording := filepath.Join(t.TempDir(), "recording")
	tracer := w.trace("--record", recording, "--interval", "400ms", "--kernel")
	w.boot()
	w.format()
	w.fill("files")
	done := w.inBackground("--directory=/mnt --bs=4k --size=" + size)
	for range 3 {
		w.awaitRequests(apart) // of two passes: one writes, one verifies
		cli(t, "checkpoint", w.volume)
	}
	w.wait(done)
	w.verify("files")
	w.sh("umount /mnt; sync")
	stat := w.diskStat()
	w.powerOff()
	tracer.stop()

	picture := *tracePicture
	if picture == "" {
		picture = filepath.Join(t.TempDir(), "picture.svg")
	}
	var r report
	out := cli(t, "trace", "report", recording, "--out", picture, "--json")
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	r.checkEvents(t)
	r.checkRequests(t, stat)
	if drawn, err := os.ReadFile(picture); err != nil || !strings.Contains(string(drawn), "<svg") {
		t.Errorf("the picture %s: %v, %d bytes", picture, err, len(drawn))
	}
	w.stop()
}

// checkEvents wants each checkpoint to have been started and sealed.
func (r *report) checkEvents(t *testing.T) {
	t.Helper()
	seen := map[string][]uint64{}
	for _, e := range r.Summary.Events {
		seen[e.Kind] = append(seen[e.Kind], e.Epoch)
	}
	for _, kind := range []string{"checkpoint started", "checkpoint sealed"} {
		if len(seen[kind]) != 3 || seen[kind][0] >= seen[kind][1] || seen[kind][1] >= seen[kind][2] {
			t.Errorf("%s: %v, want three", kind, seen[kind])
		}
	}
}

// checkRequests compares the recording with the guest's counters. The guest counts zeroes among
// the writes, and flushes without data, too; and its firmware has read before it.
func (r *report) checkRequests(t *testing.T, guest map[string]count) {
	t.Helper()
	got := map[string]count{}
	for _, kind := range r.Summary.Types {
		got[kind.Type] = count{kind.Requests, kind.Bytes, kind.Errors}
		if kind.Errors != 0 {
			t.Errorf("%d failed of type %s", kind.Errors, kind.Type)
		}
	}
	t.Logf("recorded %+v, the guest counted %+v", got, guest)
	const firmware = 1 << 20
	if more := int64(got["read"].Bytes - guest["read"].Bytes); more < 0 || more > firmware {
		t.Errorf("%d bytes were read more than the guest says", more)
	}
	written := count{Requests: got["write"].Requests + got["write_zeroes"].Requests,
		Bytes: got["write"].Bytes + got["write_zeroes"].Bytes}
	if written.Bytes != guest["write"].Bytes {
		t.Errorf("%d bytes were written, the guest says %d", written.Bytes, guest["write"].Bytes)
	}
	if n := int64(guest["write"].Requests - written.Requests); n < 0 || n > int64(got["flush"].Requests) {
		t.Errorf("%d writes, the guest says %d", written.Requests, guest["write"].Requests)
	}
	if got["flush"].Requests != guest["flush"].Requests {
		t.Errorf("%d flushes, the guest says %d", got["flush"].Requests, guest["flush"].Requests)
	}
}

// diskStat is what the guest's kernel counted of its disk (Documentation/block/stat.rst).
func (w *world) diskStat() map[string]count {
	w.t.Helper()
	n := make([]uint64, 17)
	fields := strings.Fields(w.sh("cat /sys/block/vda/stat"))
	if len(fields) < len(n) {
		w.t.Fatalf("/sys/block/vda/stat has %d fields, want %d", len(fields), len(n))
	}
	for i := range n {
		if err := json.Unmarshal([]byte(fields[i]), &n[i]); err != nil {
			w.t.Fatal(err)
		}
	}
	return map[string]count{
		"read": {Requests: n[0], Bytes: n[2] * 512}, "write": {Requests: n[4], Bytes: n[6] * 512},
		"flush": {Requests: n[15]},
	}
}
