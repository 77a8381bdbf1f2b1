package checkpoint

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/internal/bio"
)

// The scale tests hold the store to what its structure promises: that a cut takes no time, that
// checkpoints cost readers nothing, that everything else costs what was written and not what there
// is. In full size (go test ./checkpoint -run Scale -scale -v) they measure and print a line of
// JSON for each figure, which tools/bench collects; in the normal run they are small and count
// steps, pages and bytes, never time.
//
// Journal and map are real files below the temporary directory. The data area is one without
// content (scaledisk_test.go), so that 256 GiB fit on any disk: figures that depend on the device
// that holds the data are measured elsewhere (TestScaleAging, tools/bench).
var scaleFull = flag.Bool("scale", false, "full sizes, measured, in the scale tests")

// sized returns the size for this run.
func sized[T any](full, short T) T {
	if *scaleFull {
		return full
	}
	return short
}

// figure is one measured value. Ratio is that to against.
type figure struct {
	Figure  string  `json:"figure"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Target  string  `json:"target"` // empty: reported, not judged
	Against float64 `json:"against"`
	Ratio   float64 `json:"ratio"`
	Met     bool    `json:"met"`
}

// print shows a figure in a full run.
func (f figure) print(t *testing.T) {
	t.Helper()
	if !*scaleFull {
		return
	}
	if f.Against != 0 && f.Ratio == 0 {
		f.Ratio = f.Value / f.Against
	}
	fmt.Print("SCALE ")
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	if err := out.Encode(f); err != nil {
		t.Fatal(err)
	}
}

// report prints a figure that is not judged.
func report(t *testing.T, name string, value float64, unit string) {
	t.Helper()
	figure{Figure: name, Value: value, Unit: unit, Met: true}.print(t)
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func median[T int | int64 | float64 | time.Duration](v []T) T {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// scaleDepth is how many requests a batch has: the queue depth of the targets.
const scaleDepth = 32

// scaleRig is a store with a lane whose data operations are over at once.
type scaleRig struct {
	t    *testing.T
	dir  string
	s    *Store
	lane bio.Lane
	eng  *instantEngine
	rng  *rand.Rand
	reqs [scaleDepth]bio.Request
	done []*bio.Request
	mem  []byte
}

// scaleVolume makes a volume whose data area has no content.
func scaleVolume(t *testing.T, o CreateOptions) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "vol")
	if err := unix.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := CreateOn(emptyFS{Dir(dir)}, o); err != nil {
		t.Fatal(err)
	}
	return dir
}

// scaleOptions are for volumes that nobody retires checkpoints of while they are measured.
func scaleOptions() Options { return Options{MaxUnretired: 1 << 20} }

func openScale(t *testing.T, dir string, o Options) *scaleRig {
	t.Helper()
	s, err := OpenOn(emptyFS{Dir(dir)}, o)
	if err != nil {
		t.Fatal(err)
	}
	return rigScale(t, dir, s)
}

func newScale(t *testing.T, o CreateOptions) *scaleRig {
	t.Helper()
	return openScale(t, scaleVolume(t, o), scaleOptions())
}

// rigScale gives an open store a lane.
func rigScale(t *testing.T, dir string, s *Store) *scaleRig {
	t.Helper()
	r := &scaleRig{t: t, dir: dir, s: s, eng: &instantEngine{}, rng: rand.New(rand.NewPCG(1, 2))}
	r.mem = alignedBytes(windowBytes)
	var err error
	if r.lane, err = s.NewLane(scaleDepth, r.eng); err != nil {
		t.Fatal(err)
	}
	for i := range r.reqs {
		r.reqs[i] = bio.Request{Tag: uint32(i), Iov: []unix.Iovec{vectorOf(r.mem)}}
	}
	return r
}

// run takes n requests of the same length through the lane, in batches; at says where each goes.
func (r *scaleRig) run(op bio.Op, n int, length int64, at func(i int) int64) {
	for i := 0; i < n; {
		k := min(scaleDepth, n-i)
		for j := range k {
			q := &r.reqs[j]
			q.Op, q.Off, q.Len = op, at(i+j), length
			q.Iov[0] = vectorOf(r.mem[:length])
			r.lane.Submit(q)
		}
		r.lane.Dispatch()
		r.finish()
		i += k
	}
}

// finish takes what is in flight to its end.
func (r *scaleRig) finish() {
	for r.lane.InFlight() > 0 {
		for _, c := range r.eng.take() {
			r.lane.Complete(c.tag, c.res)
		}
		r.done = r.lane.Settle(r.done[:0])
		for _, q := range r.done {
			if q.Err != nil {
				r.t.Fatal(q.Err)
			}
		}
		if len(r.done)+len(r.eng.over) == 0 {
			r.wait()
		}
	}
}

// wait sleeps until the store has something for the lane.
func (r *scaleRig) wait() {
	p := []unix.PollFd{{Fd: int32(r.lane.WakeFD()), Events: unix.POLLIN}}
	if _, err := unix.Poll(p, -1); err == nil {
		var word [8]byte
		_, _ = unix.Read(r.lane.WakeFD(), word[:])
	}
	r.lane.Wake()
}

// fill writes the disk up to so many bytes in ascending order.
func (r *scaleRig) fill(bytes int64) {
	r.run(bio.Write, int(bytes/windowBytes), windowBytes, func(i int) int64 { return int64(i) * windowBytes })
}

// scatter writes n random blocks within so many bytes.
func (r *scaleRig) scatter(n int, bytes int64) {
	r.run(bio.Write, n, blockSize, func(int) int64 { return r.rng.Int64N(bytes/blockSize) * blockSize })
}

// eachLeaf overwrites one random block in each stretch of 2 MiB, in random order, so that no leaf
// of the map up to so many bytes is an extent.
func (r *scaleRig) eachLeaf(bytes int64) {
	const span = leafBlocks * blockSize
	order := r.rng.Perm(int(bytes / span))
	r.run(bio.Write, len(order), blockSize, func(i int) int64 {
		return int64(order[i])*span + r.rng.Int64N(leafBlocks)*blockSize
	})
}

// point starts a checkpoint and retires it.
func (r *scaleRig) point(name string) Point {
	r.t.Helper()
	p, err := r.s.Checkpoint(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *scaleRig) sync() {
	r.t.Helper()
	if err := r.s.Sync(); err != nil {
		r.t.Fatal(err)
	}
}

// snapshot folds the journal into the map, as background work would.
func (r *scaleRig) snapshot() {
	r.t.Helper()
	r.s.admin.Lock()
	defer r.s.admin.Unlock()
	if err := r.s.snapshot(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *scaleRig) close() {
	r.t.Helper()
	for _, end := range []func() error{r.lane.Close, r.s.Close} {
		if err := end(); err != nil {
			r.t.Fatal(err)
		}
	}
}
