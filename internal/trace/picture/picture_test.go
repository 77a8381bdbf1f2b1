package picture

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/belay-vm/belay/internal/hist"
	"github.com/belay-vm/belay/internal/trace"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// story is a minute with a checkpoint, a rollback, and ten seconds of silence.
func story(t *testing.T) *trace.Story {
	t.Helper()
	var b bytes.Buffer
	r, err := trace.NewRecorder(&b, trace.Header{Volume: "web", PID: 7, Begun: noon})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		iv := &trace.Interval{Time: noon.Add(time.Duration(i) * time.Second), Span: time.Second,
			Groups: map[trace.Key]*trace.Counts{}}
		switch {
		case i == 12:
			iv.Events = []trace.Event{{Time: iv.Time, Kind: trace.Started, Epoch: 4711}}
		case i == 35:
			iv.Events = []trace.Event{{Time: iv.Time, Kind: trace.RolledBack, Epoch: 4711}}
		}
		if i < 20 || i >= 30 {
			iv.Groups[trace.Key{Type: "write", Size: "<=4K"}] = load(uint64(i))
		}
		if err := r.Add(iv); err != nil {
			t.Fatal(err)
		}
	}
	s, err := trace.ReadStory(&b, Columns)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func load(i uint64) *trace.Counts {
	c := &trace.Counts{Requests: 1000, Bytes: 4096_000}
	for p := trace.Ring; p < trace.NumParts; p++ {
		for n := range uint64(100) {
			ns := uint64(p) * (1000 + n*n*(10+i%7))
			c.Parts[p][hist.Slot(ns)] += 10
			c.Parts[trace.Total][hist.Slot(4*ns)] += 10 / 4
			c.Ns[p] += 10 * ns
			c.Ns[trace.Total] += 10 * ns
		}
	}
	return c
}

// drawn returns a picture's text, and fails where it is no XML.
func drawn(t *testing.T, s *trace.Story, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, s, names...); err != nil {
		t.Fatal(err)
	}
	var words strings.Builder
	for d := xml.NewDecoder(bytes.NewReader(b.Bytes())); ; {
		token, err := d.Token()
		if err == io.EOF {
			return words.String()
		}
		if err != nil {
			t.Fatalf("%s: %v", names, err)
		}
		if text, ok := token.(xml.CharData); ok {
			words.Write(text)
		}
	}
}

func TestPictures(t *testing.T) {
	s := story(t)
	for name, want := range map[string]string{"heat": "rollback to 4711", "percentiles": "p99.9",
		"parts": "publication"} {
		text := drawn(t, s, name)
		if !strings.Contains(text, want) || !strings.Contains(text, "web: 50000 requests") {
			t.Errorf("%s without %q: %s", name, want, text)
		}
	}
	all := drawn(t, s, Names...)
	for _, want := range []string{"latency of all", "percentiles", "mean latency", "time since"} {
		if strings.Count(all, want) != 1 {
			t.Errorf("%q is there %d times", want, strings.Count(all, want))
		}
	}
	if err := Write(io.Discard, s, "landscape"); err == nil {
		t.Error("a picture that there is not was drawn")
	}
}

// TestPicturesOfLittle: one silent interval is a recording, too.
func TestPicturesOfLittle(t *testing.T) {
	s := &trace.Story{Columns: []*trace.Interval{{Time: noon, Span: time.Second}}}
	drawn(t, s, Names...)
	s.Columns[0].Groups = map[trace.Key]*trace.Counts{{Type: "read"}: load(1)}
	drawn(t, s, Names...)
}

func TestTicks(t *testing.T) {
	for _, high := range []float64{0.3, 1, 59, 3600, 86400, 1e7} {
		if n := len(timeTicks(0, high)); n < 2 || n > 13 && high < 1e6 {
			t.Errorf("%v s have %d ticks", high, n)
		}
	}
	for d, want := range map[time.Duration]string{0: "0s", time.Minute: "1m", 90 * time.Second: "1m30s",
		time.Hour: "1h", 20 * time.Second: "20s", 100 * time.Minute: "1h40m"} {
		if got := elapsed(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
