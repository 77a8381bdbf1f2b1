package trace

import (
	"math"
	"testing"
	"time"
)

func TestBetween(t *testing.T) {
	earlier := &Snapshot{At: 5_000_000_000, Tally: Tally{Kicks: 7},
		Groups: map[Key]*Counts{
			reads:  new(Counts).request(10, 4096, 1, 2, 3, 4),
			writes: new(Counts).request(3, 512, 1, 2, 3, 4),
		}}
	now := &Snapshot{At: 7_000_000_000, Tally: Tally{Kicks: 9},
		Groups: map[Key]*Counts{
			reads:  new(Counts).request(10, 4096, 1, 2, 3, 4).request(5, 4096, 100, 200, 300, 400),
			writes: new(Counts).request(3, 512, 1, 2, 3, 4),
			flush:  new(Counts).request(1, 0, 1, 1, 1, 1),
		}}
	iv := Between(earlier, now, noon.UnixNano()-5_000_000_000)
	if !iv.Time.Equal(noon) || iv.Span != 2*time.Second || iv.Kicks != 2 {
		t.Errorf("interval from %v for %v with %d kicks", iv.Time, iv.Span, iv.Kicks)
	}
	if len(iv.Groups) != 2 || *iv.Groups[flush] != *now.Groups[flush] {
		t.Errorf("groups: %v", iv.Groups)
	}
	if want := new(Counts).request(5, 4096, 100, 200, 300, 400); *iv.Groups[reads] != *want {
		t.Errorf("reads: %v", iv.Groups[reads])
	}
}

// TestBegunAnew: counters that went back are those of a new beginning.
func TestBegunAnew(t *testing.T) {
	earlier := &Snapshot{At: 1, Groups: map[Key]*Counts{reads: new(Counts).request(10, 4096, 1, 2, 3, 4)}}
	now := &Snapshot{At: 2, Groups: map[Key]*Counts{reads: new(Counts).request(4, 512, 9, 9, 9, 9)}}
	if iv := Between(earlier, now, 0); *iv.Groups[reads] != *now.Groups[reads] {
		t.Errorf("reads: %v", iv.Groups[reads])
	}
}

func TestFoldAndAppend(t *testing.T) {
	iv := example()
	other := Key{Queue: 7, Type: "read", Size: "<=64K"}
	iv.Groups[other] = new(Counts).request(1, 65536, 1, 1, 1, 1)
	folded := iv.Fold()
	if len(folded.Groups) != 3 || folded.Groups[Key{Type: "read"}].Requests != 1001 {
		t.Errorf("folded: %v", folded.Groups)
	}
	if iv.Groups[reads].Requests != 1000 {
		t.Error("folding changed what was folded")
	}
	var sum Interval
	next := example()
	next.Time = iv.End()
	sum.Append(iv)
	sum.Append(next)
	if sum.Span != 2*time.Second || !sum.Time.Equal(noon) || sum.Groups[reads].Requests != 2000 ||
		sum.Kicks != 1000 || len(sum.Events) != 4 || sum.FlushRounds != 4 || len(sum.Outliers) != 1 {
		t.Errorf("sum: %+v", sum)
	}
	if iv.Groups[reads].Requests != 1000 || len(iv.Outliers) != 1 {
		t.Error("appending changed what was appended")
	}
}

func TestOnlyTheSlowestAreKept(t *testing.T) {
	var iv Interval
	for ns := range uint64(1000) {
		iv.keep([]Outlier{{Ns: Times{Total: ns * 7919 % 1000}}})
	}
	if len(iv.Outliers) != MaxOutliers || iv.Outliers[0].Ns[Total] != 999 ||
		iv.Outliers[MaxOutliers-1].Ns[Total] != 1000-MaxOutliers {
		t.Errorf("kept: %v", iv.Outliers)
	}
}

// TestAlike: what was in one batch and took as long is listed once.
func TestAlike(t *testing.T) {
	var iv Interval
	slow := Outlier{Time: noon, Type: "read", Ns: Times{Total: 5}}
	other := slow
	other.Type = "write"
	for range 10 {
		iv.keep([]Outlier{slow, other, slow})
	}
	if len(iv.Outliers) != 2 || iv.Outliers[0].Alike != 19 || iv.Outliers[1].Alike != 9 {
		t.Errorf("kept: %+v", iv.Outliers)
	}
}

// TestDepth: 1000 requests of 4 ms in 2 seconds are 2 at any time.
func TestDepth(t *testing.T) {
	c := new(Counts).request(1000, 0, 1_000_000, 1_000_000, 1_000_000, 1_000_000)
	if d := c.Depth(2 * time.Second); math.Abs(d-2) > 1e-9 {
		t.Errorf("depth %v", d)
	}
	if d := c.Depth(0); d != 0 {
		t.Errorf("depth without time: %v", d)
	}
}

func TestSummary(t *testing.T) {
	s := Summarize(example(), true)
	if s.Requests != 1212 || s.IOPS != 1212 || len(s.Types) != 3 || len(s.Groups) != 3 || len(s.Kernel) != 2 {
		t.Fatalf("summary: %+v", s)
	}
	read := s.Types[0]
	if read.Type != "read" || len(read.Parts) != int(NumParts) || read.BytesPerSecond != 4096000 {
		t.Fatalf("reads: %+v", read)
	}
	share := 0.0
	for _, p := range read.Parts[1:] {
		share += p.Share
	}
	if math.Abs(share-1) > 1e-9 {
		t.Errorf("the parts are %v of the whole", share)
	}
	if device := read.Parts[Device]; device.Mean != 90_000 || math.Abs(float64(device.P50)/90_000-1) > 0.07 ||
		len(device.Histogram) != 1 || device.Histogram[0].Count != 1000 {
		t.Errorf("device: %+v", device)
	}
	if s.Kernel[0].Layer != "io_uring" || s.Kernel[0].Punted != 3 {
		t.Errorf("kernel: %+v", s.Kernel)
	}
}
