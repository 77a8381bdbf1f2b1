package trace

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	time.Local = time.UTC // what is printed is the same everywhere
	os.Exit(m.Run())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run go test -update and look at the difference. Got:\n%s", path, got)
	}
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	fmt.Fprintln(&b, LineHead)
	PrintLine(&b, example())
	PrintLine(&b, &Interval{Time: noon.Add(time.Second), Span: time.Second})
	s := Summarize(example(), false)
	fmt.Fprintln(&b)
	s.Print(&b, []string{"a note"})
	golden(t, "summary.txt", b.String())
}

func TestHistogramText(t *testing.T) {
	var b bytes.Buffer
	s := Summarize(example(), true)
	s.Types[1].print(&b)
	golden(t, "histogram.txt", b.String())
}

// ran is a view that has seen 100 intervals, with a checkpoint in each tenth.
func ran() *View {
	v := NewView("web (process 77)", []string{"a note"})
	for i := range 100 {
		iv := example()
		iv.Time = noon.Add(time.Duration(i) * time.Second)
		if i%10 != 0 {
			iv.Events = nil
		}
		if i%7 == 0 {
			iv.Groups[reads].request(uint64(i), 4096, 1, 1, uint64(i)*1_000_000, 1)
		}
		v.Add(iv)
	}
	return v
}

func TestView(t *testing.T) {
	v := ran()
	golden(t, "view.txt", v.Render(100, 40, false)+"\n")
	for _, key := range []string{"tab", "tab", "w", "p"} {
		v.Press(key)
	}
	golden(t, "writes.txt", v.Render(80, 24, false)+"\n")
	v.Press("shift+tab")
	v.Press("shift+tab")
	if v.kind != "" || !v.whole || !v.paused {
		t.Errorf("type %q, whole %v, paused %v", v.kind, v.whole, v.paused)
	}
}

// TestViewFits: whatever the size, nothing is wider or higher, and nothing fails.
func TestViewFits(t *testing.T) {
	v := ran()
	for _, colored := range []bool{false, true} {
		for width := 1; width < 200; width += 13 {
			for height := 1; height < 80; height += 7 {
				lines := strings.Split(v.Render(width, height, colored), "\n")
				if len(lines) > height {
					t.Errorf("%d lines on a screen of %d", len(lines), height)
				}
				for _, l := range lines {
					if w := lipgloss.Width(l); w > width {
						t.Fatalf("%d columns on a screen of %d: %q", w, width, l)
					}
				}
			}
		}
	}
}

func TestViewOfNothing(t *testing.T) {
	v := NewView("web", nil)
	v.Press("tab")
	if got := v.Render(80, 24, false); !strings.Contains(got, "waiting") {
		t.Errorf("empty view: %q", got)
	}
	v.Add(&Interval{Time: noon, Span: time.Second})
	v.Render(80, 24, true)
}

func TestNumbers(t *testing.T) {
	for ns, want := range map[uint64]string{0: "0 ns", 999: "999 ns", 1000: "1.00 µs", 9_994: "9.99 µs",
		12_345: "12.3 µs", 123_456: "123 µs", 999_499: "999 µs", 999_500: "1.00 ms", 999_499_999: "999 ms",
		999_500_000: "1.00 s", 258_000_000_000: "258 s"} {
		if got := Nanos(ns); got != want {
			t.Errorf("%d: %q, want %q", ns, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0", 0.51: "0.5", 12: "12", 9999: "9999", 10_000: "10.0k",
		123_456: "123k", 1_234_567: "1.23M"} {
		if got := Rate(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}
