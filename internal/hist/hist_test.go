package hist

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSlotsMeet(t *testing.T) {
	if Lower(0) != 0 {
		t.Errorf("slot 0 begins at %d", Lower(0))
	}
	for slot := range Slots {
		from, to := Lower(slot), Upper(slot)
		if from >= to {
			t.Fatalf("slot %d: %d to %d", slot, from, to)
		}
		if Slot(from) != slot || Slot(to-1) != slot {
			t.Errorf("slot %d holds %d to %d, but these are in %d and %d", slot, from, to, Slot(from), Slot(to-1))
		}
		if slot < Slots-1 && Slot(to) != slot+1 {
			t.Errorf("%d is in slot %d, want %d", to, Slot(to), slot+1)
		}
		if width := float64(to-from) / float64(from); slot >= 8 && width > 0.125 {
			t.Errorf("slot %d is %.3f of its begin wide", slot, width)
		}
	}
}

// TestKnownSlots has the values that bpf/c is tested with, too.
func TestKnownSlots(t *testing.T) {
	for _, c := range []struct {
		ns   uint64
		slot int
	}{
		{0, 0}, {15, 0}, {16, 1}, {127, 7}, {128, 8}, {143, 8}, {144, 9}, {255, 15}, {256, 16}, {1000, 31},
		{100_000, 84}, {1_000_000, 111}, {1 << 37, 248}, {1<<38 - 1, 255}, {1 << 38, 255}, {math.MaxUint64, 255},
	} {
		if got := Slot(c.ns); got != c.slot {
			t.Errorf("Slot(%d) = %d, want %d", c.ns, got, c.slot)
		}
	}
}

func TestQuantileIsNear(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	var values []uint64
	for range 100_000 {
		ns := uint64(1000 * math.Exp(3*random.Float64()*random.Float64()))
		values = append(values, ns)
		h[Slot(ns)]++
	}
	slices.Sort(values)
	if h.Count() != uint64(len(values)) {
		t.Errorf("counted %d", h.Count())
	}
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999} {
		want := float64(values[int(q*float64(len(values)))])
		if got := float64(h.Quantile(q)); math.Abs(got-want) > 0.07*want {
			t.Errorf("quantile %g is %g, want %g", q, got, want)
		}
	}
}

func TestQuantileOfFew(t *testing.T) {
	var h Histogram
	if got := h.Quantile(0.5); got != 0 {
		t.Errorf("nothing has the median %d", got)
	}
	h[Slot(5000)]++
	for _, q := range []float64{-1, 0, 0.5, 1, 2} {
		if got := h.Quantile(q); Slot(got) != Slot(5000) && got != Upper(Slot(5000)) {
			t.Errorf("quantile %g of 5000 is %d", q, got)
		}
	}
}

func TestAddAndSub(t *testing.T) {
	var a, b Histogram
	a[3], b[3], b[255] = 5, 2, 7
	a.Add(&b)
	if a[3] != 7 || a[255] != 7 || a.Count() != 14 {
		t.Errorf("sum is %v", a)
	}
	a.Sub(&b)
	if a[3] != 5 || a.Count() != 5 {
		t.Errorf("difference is %v", a)
	}
}
