package checkpoint

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/belay-vm/belay/internal/bio"
)

// historyRig is a volume that was overwritten in random order with many checkpoints in between, and
// one on which nobody took any.
func historyRigs(t *testing.T, points, blocks int, size int64) (with, without *scaleRig) {
	t.Helper()
	for i, r := range []**scaleRig{&with, &without} {
		*r = newScale(t, CreateOptions{Size: size})
		(*r).fill(size)
		for p := range points {
			(*r).scatter(blocks, size)
			if i == 0 {
				(*r).point(fmt.Sprint("p", p))
			}
		}
	}
	return with, without
}

// TestScaleReads compares the rate of random reads with many retained checkpoints and without: a
// read looks at the newest map only.
func TestScaleReads(t *testing.T) {
	points, size := sized(1000, 20), sized[int64](4<<30, 64<<20)
	with, without := historyRigs(t, points, 1000, size)
	defer with.close()
	defer without.close()
	if n := len(with.s.Points()); n != points {
		t.Fatalf("%d checkpoints are retained", n)
	}
	before := with.s.mem.used()
	var ratios, rates, none []float64
	for round := range sized[uint64](101, 1) { // short and many, so that others disturb both alike
		a, b := with.readRate(round), without.readRate(round)
		if round%2 == 1 {
			b, a = without.readRate(round), with.readRate(round)
		}
		ratios, rates, none = append(ratios, a/b), append(rates, a), append(none, b)
	}
	if now := with.s.mem.used(); now != before {
		t.Fatalf("reading took %d bytes of map", now-before)
	}
	r := median(ratios)
	figure{Figure: fmt.Sprintf("random reads with %d checkpoints of 1,000 blocks", points), Value: median(rates),
		Unit: "reads/s without device", Target: "median of the paired ratios >= 0.97", Against: median(none),
		Ratio: r, Met: r >= 0.97}.print(t)
}

// readRate is the number of reads of random blocks a second.
func (r *scaleRig) readRate(seed uint64) float64 {
	rng := rand.New(rand.NewPCG(seed, 7))
	n := sized(100_000, 1000)
	blocks := r.s.Size() / blockSize
	begun := time.Now()
	r.run(bio.Read, n, blockSize, func(int) int64 { return rng.Int64N(blocks) * blockSize })
	return float64(n) / time.Since(begun).Seconds()
}

// TestScaleDelete deletes checkpoints in the middle of a long history: the work is that of the
// epoch's writes and of nothing else, and is done in bounded steps.
func TestScaleDelete(t *testing.T) {
	points := sized(1000, 20)
	small, large := 1000, sized(100_000, 20_000)
	size := sized[int64](4<<30, 256<<20)
	r := newScale(t, CreateOptions{Size: size})
	r.fill(size)
	for p := range points {
		n := small
		if p%(points/5) == points/10 {
			n = large
		}
		r.scatter(n, size)
		r.point(fmt.Sprint("p", p))
	}
	r.snapshot()
	r.s.background.end() // the steps are done here, so that they can be counted
	defer func() { r.s.background = startBackground(r.s, false); r.close() }()
	var perSmall, perLarge []float64
	var holds []time.Duration
	for i := range 5 {
		at := uint32(i*(points/5) + points/10)
		for _, id := range []uint32{at, at + 1} {
			d := r.deletePoint(id)
			if d.blocks < uint64(small)*9/10 || len(d.holds) > int(d.blocks/runLimit)+2 {
				t.Fatalf("checkpoint %d: %d steps for %d blocks", id, len(d.holds), d.blocks)
			}
			per := float64(d.took.Nanoseconds()) / float64(d.blocks)
			if d.blocks > uint64(small)*2 {
				perLarge = append(perLarge, per)
			} else {
				perSmall = append(perSmall, per)
			}
			holds = append(holds, d.holds...)
		}
	}
	figure{Figure: "deleting a checkpoint of 100,000 blocks", Value: median(perLarge), Unit: "ns per block",
		Target: "proportional: at most 2 times that of 1,000 blocks", Against: median(perSmall),
		Met: median(perLarge) <= 2*median(perSmall)}.print(t)
	report(t, "how long its longest step holds others up", ms(maxOf(holds)), "ms")
	report(t, "the median of its steps", ms(median(holds)), "ms")
}

// deletion is what deleting a point took.
type deletion struct {
	blocks uint64 // judged
	took   time.Duration
	holds  []time.Duration // of the mutex, one for each step
}

// deletePoint deletes a point and does the background's work until nothing is left of it.
func (r *scaleRig) deletePoint(id uint32) deletion {
	r.t.Helper()
	var d deletion
	p, err := r.s.point(epoch(id))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, run := range p.runs {
		d.blocks += run.blocks
	}
	begun := time.Now()
	if err := r.s.deletePoint(p); err != nil {
		r.t.Fatal(err)
	}
	for {
		_, run := r.s.nextSweep()
		if run == nil {
			break
		}
		w, err := r.s.load(run)
		if err != nil {
			r.t.Fatal(err)
		}
		at := time.Now()
		if err := r.s.commitSweep(run, w); err != nil {
			r.t.Fatal(err)
		}
		d.holds = append(d.holds, time.Since(at))
	}
	d.took = time.Since(begun)
	return d
}
