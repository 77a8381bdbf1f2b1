package pair

import (
	"context"
	"fmt"
	"regexp"
	"testing"
	"time"
)

func TestLinesComeWhole(t *testing.T) {
	l := newLines(nil)
	fmt.Fprint(l, "one\r\ntwo and a ")
	if n := l.Len(); n != 1 {
		t.Errorf("%d lines, want 1", n)
	}
	fmt.Fprint(l, "half\none more\n")
	got, err := l.Await(context.Background(), 0, 2, regexp.MustCompile("^one"))
	if got != "one more" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got := l.Matching(regexp.MustCompile("half")); len(got) != 1 || got[0] != "two and a half" {
		t.Errorf("got %q", got)
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := newLines(nil).Await(ctx, 0, 1, regexp.MustCompile("x")); err == nil {
		t.Error("it did not end")
	}
}

func TestTracedSpans(t *testing.T) {
	const log = `7@100.000001:vm_state_notify running 1 reason 9 (running)
qemu: something else
7@100.500000:vm_state_notify running 0 reason 15 (colo)
7@100.540000:vm_state_notify running 1 reason 9 (running)
7@101.000000:vm_state_notify running 0 reason 15 (colo)
7@101.0600`
	got := durations(tracedSpans(log), time.Unix(0, 0), time.Unix(200, 0))
	if len(got) != 1 || got[0] != 40*time.Millisecond {
		t.Errorf("got %v", got)
	}
	if got := durations(tracedSpans(log), time.Unix(101, 0), time.Unix(200, 0)); len(got) != 0 {
		t.Errorf("got %v of a time without any", got)
	}
}

func TestQuantile(t *testing.T) {
	all := []time.Duration{5, 1, 3, 2, 4}
	for _, c := range []struct {
		q    float64
		want time.Duration
	}{{0, 1}, {0.5, 3}, {0.99, 5}, {1, 5}} {
		if got := Quantile(all, c.q); got != c.want {
			t.Errorf("%v: got %d, want %d", c.q, got, c.want)
		}
	}
	if got := Quantile(nil, 0.5); got != 0 {
		t.Errorf("got %d of none", got)
	}
}
