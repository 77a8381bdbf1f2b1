package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

// known is a result whose medians and ratios are easy to see.
func known() *result {
	return &result{Samples: []sample{
		{"loads", 0, "bare", values{"idle_pause_ms": 50}},
		{"loads", 0, "belay", values{"idle_pause_ms": 51, "fsync_p50_ms": 1, "word_ms": 60}},
		{"loads", 0, "qemu", values{"idle_pause_ms": 60, "fsync_p50_ms": 2, "word_ms": 50}},
		{"loads", 1, "belay", values{"idle_pause_ms": 56, "fsync_p50_ms": 3}},
		{"loads", 1, "bare", values{"idle_pause_ms": 52}},
		{"loads", 2, "bare", values{"idle_pause_ms": 40}}, // the other one has no such round
		{"resync", 0, "belay", values{"resync_per_changed": 1.02}},
	}}
}

func TestJudge(t *testing.T) {
	got := map[string]outcome{}
	for _, o := range known().judge() {
		got[o.Value] = o
	}
	for _, want := range []struct {
		value  string
		median float64
		n      int
		met    bool
	}{
		{"idle_pause_ms", 2.5, 2, true}, // 1 and 4 more than bare
		{"fsync_p50_ms", 0.5, 1, true},
		{"word_ms", 1.2, 1, false},
		{"resync_per_changed", 1.02, 1, true},
	} {
		o, ok := got[want.value]
		if !ok || o.Is.Median != want.median || o.Is.N != want.n || o.Met != want.met {
			t.Errorf("%s: got %+v, want %+v", want.value, o, want)
		}
	}
	if len(got) != 4 {
		t.Errorf("%d outcomes, want those of which there are values", len(got))
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	if err := known().table(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"word_ms / qemu", "missed", "loads: 3 rounds", "idle_pause_ms - bare"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

func TestResultIsAddedTo(t *testing.T) {
	o := options{out: t.TempDir(), belay: "true", load: time.Second, checkpoints: 7}
	r, err := openResult(context.Background(), &o)
	if err != nil {
		t.Fatal(err)
	}
	r.Samples = known().Samples
	if err := r.save(o.out); err != nil {
		t.Fatal(err)
	}
	again, err := openResult(context.Background(), &o)
	if err != nil || len(again.Samples) != len(r.Samples) || again.rounds("loads") != 3 {
		t.Errorf("got %+v, %v", again, err)
	}
	o.checkpoints++
	if _, err := openResult(context.Background(), &o); err == nil {
		t.Error("a result of other settings was added to")
	}
}

func TestResultHasAPlace(t *testing.T) {
	t.Chdir(t.TempDir())
	o := options{belay: "true"}
	r, err := openResult(context.Background(), &o)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(o.out, results) || !strings.HasSuffix(o.out, r.Commit) {
		t.Errorf("it would be saved in %q", o.out)
	}
	if err := r.save(o.out); err != nil {
		t.Error(err)
	}
}
