package blk

import (
	"math"
	"testing"
	"time"
)

func TestBuckets(t *testing.T) {
	for _, row := range []struct {
		took time.Duration
		want int
	}{
		{0, 0},
		{999, 0},
		{time.Microsecond, 1},
		{2 * time.Microsecond, 2},
		{1023 * time.Microsecond, 10},
		{1024 * time.Microsecond, 11},
		{4 * time.Second, 22},
		{5 * time.Second, 23},
		{math.MaxInt64, 23},
	} {
		if got := bucket(int64(row.took)); got != row.want {
			t.Errorf("%v is in bucket %d, want %d", row.took, got, row.want)
		}
	}
}

func TestTally(t *testing.T) {
	var y tally
	var c queueCounters
	for range 2 {
		y.add(KindRead, 512, StatusOK, 1500)
		y.add(KindRead, 1024, StatusOK, 3000)
		y.add(KindOther, 7, StatusUnsupported, 0)
		y.flush(&c)
	}
	y.flush(&c)
	s := c.read()
	want := KindStats{Requests: 4, Bytes: 3072, LatencyNs: 9000}
	want.Latency[1], want.Latency[2] = 2, 2
	if got := s.Kinds[KindRead]; got != want {
		t.Errorf("reads: %+v, want %+v", got, want)
	}
	want = KindStats{Requests: 2, Errors: 2}
	want.Latency[0] = 2
	if got := s.Kinds[KindOther]; got != want {
		t.Errorf("others: %+v, want %+v", got, want)
	}
	if y != (tally{}) {
		t.Errorf("the tally is not empty: %+v", y)
	}
}

func TestKindNames(t *testing.T) {
	seen := map[string]bool{}
	for k := range NumKinds {
		if name := k.String(); name == "" || seen[name] {
			t.Errorf("kind %d is called %q", k, name)
		} else {
			seen[name] = true
		}
	}
}
