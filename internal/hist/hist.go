// Package hist is the one layout of latency histograms: of the counters that always run, of what
// eBPF programs fill in, and of what is printed. bpf/c has the same formula in C.
//
// Values are nanoseconds. They are counted in units of 16 ns: the first 8 slots are one unit wide,
// and from there on each octave has 8 slots of equal width. So a slot is at most 12.5 % wide, and
// its middle is within 6.25 % of whatever was counted in it.
package hist

import (
	"math"
	"math/bits"
)

// Slots is the number of slots of a histogram.
const Slots = 256

const (
	unitBits = 4 // a unit is 16 ns
	subBits  = 3 // an octave has 8 slots
	perOct   = 1 << subBits
)

// Histogram counts values by slot. It is what eBPF maps hold, too.
type Histogram [Slots]uint64

// Slot is where a value, in nanoseconds, is counted. The last slot takes all that lies above it,
// too: from 258 seconds on.
func Slot(ns uint64) int {
	u := ns >> unitBits
	if u < perOct {
		return int(u)
	}
	e := bits.Len64(u) - 1
	return min((e-subBits+1)*perOct+int(u>>(e-subBits)&(perOct-1)), Slots-1)
}

// Lower is the least value of a slot, in nanoseconds.
func Lower(slot int) uint64 {
	if slot < perOct {
		return uint64(slot) << unitBits
	}
	e := slot/perOct + subBits - 1
	return uint64(perOct+slot%perOct) << (e - subBits + unitBits)
}

// Upper is the first value above a slot, in nanoseconds; for the last, where the next would begin.
func Upper(slot int) uint64 { return Lower(slot + 1) }

// Add counts what other has counted.
func (h *Histogram) Add(other *Histogram) {
	for i, n := range other {
		h[i] += n
	}
}

// Sub takes away what other has counted: an earlier reading of the same counters.
func (h *Histogram) Sub(other *Histogram) {
	for i, n := range other {
		h[i] -= n
	}
}

// Count is how many values were counted.
func (h *Histogram) Count() uint64 {
	sum := uint64(0)
	for _, n := range h {
		sum += n
	}
	return sum
}

// Quantile is the value, in nanoseconds, below which a share q of the values lies, 0 to 1. Within a
// slot they are taken to lie evenly. Without values it is 0.
func (h *Histogram) Quantile(q float64) uint64 {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank := math.Max(0, math.Min(1, q)) * float64(total)
	last := 0
	for slot, n := range h {
		if n == 0 {
			continue
		}
		if rank <= float64(n) {
			return Lower(slot) + uint64(rank/float64(n)*float64(Upper(slot)-Lower(slot)))
		}
		rank -= float64(n)
		last = slot
	}
	return Upper(last) // what is left of the rank is an error of rounding
}
