package trace

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

var header = Header{Volume: "/var/lib/belay/web", PID: 77, Program: "v1", Begun: noon,
	Notes: []string{"a note"}}

// recording has the example twice.
func recording(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	r, err := NewRecorder(&b, header)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		iv := example()
		iv.Time = noon.Add(time.Duration(i) * time.Second)
		if err := r.Add(iv); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// play reads a recording to its end.
func play(b []byte) (all []*Interval, err error) {
	p, err := NewPlayer(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	for {
		iv, err := p.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, iv)
	}
}

func TestRecordAndPlay(t *testing.T) {
	b := recording(t)
	p, err := NewPlayer(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	want := header
	want.Version = Version
	if !reflect.DeepEqual(p.Header, want) {
		t.Errorf("header: %+v", p.Header)
	}
	all, err := play(b)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d intervals, %v", len(all), err)
	}
	if want := example(); !reflect.DeepEqual(all[0], want) {
		t.Errorf("played %+v\nwant   %+v", all[0], want)
	}
}

func TestBadRecordings(t *testing.T) {
	good := string(recording(t))
	change := func(from, to string) string { return strings.Replace(good, from, to, 1) }
	lines := strings.SplitAfter(good, "\n")
	for name, c := range map[string]struct{ file, want string }{
		"empty":           {"", "is empty, not a recording"},
		"other text":      {"hello\n", "is not a recording of belay trace"},
		"other JSON":      {"{\"a\":1}\n", "is not a recording of belay trace"},
		"no object":       {"7\n", "is not a recording of belay trace"},
		"other version":   {change(`{"belay_trace":1`, `{"belay_trace":2`), "recording of version 2"},
		"unknown member":  {change(`"span_ns"`, `"spin_ns"`), `line 2: json: unknown field "spin_ns"`},
		"no time":         {change(`"span_ns":1000000000`, `"span_ns":0`), "line 2: an interval without time"},
		"cut off":         {good[:len(good)-20], "line 3: is cut off"},
		"backwards":       {lines[0] + lines[2] + lines[1], "line 3: begins before the line before it ends"},
		"two in one line": {change("\n{\"time\"", "{\"time\""), "line 1: has more than one value"},
		"unknown type":    {change(`"type":"read"`, `"type":"raed"`), "line 2: queue 0, type \"raed\""},
		"twice": {change(`"queue":1,"type":"flush","size":"none"`,
			`"queue":1,"type":"write","size":"\u003c=64K"`), "there twice"},
		"slot":          {change(`"total":[[`, `"total":[[256,1],[`), "total: histogram has slot 256"},
		"missing part":  {change(`"total":[[`, `"totel":[[`), "line 2: "},
		"missing time":  {change(`"device_ns"`, `"devise_ns"`), "line 2: not the times of all parts"},
		"unknown event": {change(`"checkpoint sealed"`, `"sealed"`), `line 2: unknown event "sealed"`},
		"negative":      {change(`"requests":1000`, `"requests":-1`), "line 2: "},
	} {
		_, err := play([]byte(c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %q", name, err)
		}
	}
}

// FuzzPlay: a recording that can be played is written as it was.
func FuzzPlay(f *testing.F) {
	f.Add(recording(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := play(b)
		if err != nil {
			return
		}
		for _, iv := range all {
			var again bytes.Buffer
			r, err := NewRecorder(&again, Header{})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Add(iv); err != nil {
				t.Fatalf("played and not recorded: %v", err)
			}
			Summarize(iv, true)
			NewHeat([]*Interval{iv}, "", 8)
		}
	})
}
