package trace

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/belay-vm/belay/internal/hist"
)

// A recording is JSON lines: a Header, then an interval in each line.

// Version is that of the recordings that are written and read.
const Version = 1

// maxLine is the longest line of a recording, in bytes: many times what 64 queues need.
const maxLine = 64 << 20

// Header is the first line of a recording.
type Header struct {
	Version int       `json:"belay_trace"`
	Volume  string    `json:"volume"`
	PID     int       `json:"pid"`
	Program string    `json:"program,omitempty"` // belay's version
	Begun   time.Time `json:"begun"`
	Notes   []string  `json:"notes,omitempty"` // what could not be looked at
}

// The lines as they are written. Everything is there that an Interval has.
type (
	intervalLine struct {
		Time     time.Time    `json:"time"`
		Span     int64        `json:"span_ns"`
		Groups   []groupLine  `json:"groups"`
		Kernel   []kernelLine `json:"kernel,omitempty"`
		Tally    Tally        `json:"tally"`
		Events   []Event      `json:"events,omitempty"`
		Outliers []Outlier    `json:"outliers,omitempty"`
	}
	groupLine struct {
		Key
		Requests   uint64            `json:"requests"`
		Bytes      uint64            `json:"bytes"`
		Errors     uint64            `json:"errors,omitempty"`
		Ns         Times             `json:"parts"`
		Histograms map[string]sparse `json:"histograms"`
	}
	kernelLine struct {
		KernelKey
		Operations uint64 `json:"operations"`
		Bytes      uint64 `json:"bytes,omitempty"`
		Errors     uint64 `json:"errors,omitempty"`
		Punted     uint64 `json:"punted,omitempty"`
		Ns         uint64 `json:"ns"`
		Histogram  sparse `json:"histogram"`
	}
)

// sparse is a histogram as pairs of slot and count, by ascending slots.
type sparse [][2]uint64

func sparseOf(h *hist.Histogram) sparse {
	s := sparse{}
	for slot, n := range h {
		if n != 0 {
			s = append(s, [2]uint64{uint64(slot), n})
		}
	}
	return s
}

func (s sparse) fill(h *hist.Histogram) error {
	next := uint64(0)
	for _, pair := range s {
		if pair[0] < next || pair[0] >= hist.Slots {
			return fmt.Errorf("histogram has slot %d after %d", pair[0], next)
		}
		next = pair[0] + 1
		h[pair[0]] = pair[1]
	}
	return nil
}

// Recorder writes a recording. Each line is one write, so that what is there is whole.
type Recorder struct{ w io.Writer }

// NewRecorder begins a recording.
func NewRecorder(w io.Writer, h Header) (*Recorder, error) {
	h.Version = Version
	r := &Recorder{w}
	return r, r.line(h)
}

// Add writes an interval.
func (r *Recorder) Add(iv *Interval) error {
	line := intervalLine{Time: iv.Time, Span: int64(iv.Span), Groups: []groupLine{}, Tally: iv.Tally,
		Events: iv.Events, Outliers: iv.Outliers}
	for _, key := range Keys(iv.Groups) {
		c := iv.Groups[key]
		g := groupLine{Key: key, Requests: c.Requests, Bytes: c.Bytes, Errors: c.Errors, Ns: c.Ns,
			Histograms: map[string]sparse{}}
		for p := range NumParts {
			g.Histograms[p.String()] = sparseOf(&c.Parts[p])
		}
		line.Groups = append(line.Groups, g)
	}
	for _, key := range kernelKeys(iv.Kernel) {
		k := iv.Kernel[key]
		line.Kernel = append(line.Kernel, kernelLine{key, k.Operations, k.Bytes, k.Errors, k.Punted, k.Ns,
			sparseOf(&k.Latency)})
	}
	return r.line(line)
}

func (r *Recorder) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = r.w.Write(append(b, '\n'))
	return err
}

// Player reads a recording.
type Player struct {
	Header Header

	lines  *bufio.Scanner
	number int // of the line read last
	end    time.Time
}

// NewPlayer reads a recording's first line.
func NewPlayer(r io.Reader) (*Player, error) {
	p := &Player{lines: bufio.NewScanner(r)}
	p.lines.Buffer(make([]byte, 64<<10), maxLine)
	b, err := p.next()
	if err == io.EOF {
		return nil, errors.New("is empty, not a recording of belay trace")
	}
	if err != nil {
		return nil, err
	}
	// The version is judged before the rest, which another version may have otherwise.
	var version struct {
		Version int `json:"belay_trace"`
	}
	if json.NewDecoder(bytes.NewReader(b)).Decode(&version) != nil || version.Version == 0 {
		return nil, errors.New("is not a recording of belay trace")
	}
	if version.Version != Version {
		return nil, fmt.Errorf("is a recording of version %d; this belay reads version %d",
			version.Version, Version)
	}
	return p, p.decode(b, &p.Header)
}

// Next returns the next interval, io.EOF after the last, or what is wrong and in which line.
func (p *Player) Next() (*Interval, error) {
	b, err := p.next()
	if err != nil {
		return nil, err
	}
	var line intervalLine
	if err := p.decode(b, &line); err != nil {
		return nil, err
	}
	iv, err := line.interval()
	if err == nil && iv.Time.Before(p.end.Add(-time.Second)) { // clocks may be set a little
		err = errors.New("begins before the line before it ends")
	}
	if err != nil {
		return nil, p.wrong(err)
	}
	p.end = iv.End()
	return iv, nil
}

func (p *Player) next() ([]byte, error) {
	p.number++
	if p.lines.Scan() {
		return p.lines.Bytes(), nil
	}
	switch err := p.lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, p.wrong(fmt.Errorf("is longer than %d bytes", maxLine))
	case err != nil:
		return nil, p.wrong(err)
	}
	return nil, io.EOF
}

func (p *Player) decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			err = errors.New("is cut off")
		}
		return p.wrong(err)
	}
	if d.More() {
		return p.wrong(errors.New("has more than one value"))
	}
	return nil
}

func (p *Player) wrong(err error) error { return fmt.Errorf("line %d: %w", p.number, err) }

func (l *intervalLine) interval() (*Interval, error) {
	if l.Span <= 0 || l.Time.IsZero() {
		return nil, errors.New("an interval without time")
	}
	iv := &Interval{Time: l.Time, Span: time.Duration(l.Span), Groups: map[Key]*Counts{},
		Kernel: map[KernelKey]*Kernel{}, Tally: l.Tally, Events: l.Events, Outliers: l.Outliers}
	for _, g := range l.Groups {
		c, err := g.counts()
		if err == nil && iv.Groups[g.Key] != nil {
			err = errors.New("is there twice")
		}
		if err != nil {
			return nil, fmt.Errorf("queue %d, type %q, size %q: %w", g.Queue, g.Type, g.Size, err)
		}
		iv.Groups[g.Key] = c
	}
	for _, k := range l.Kernel {
		kernel := &Kernel{Operations: k.Operations, Bytes: k.Bytes, Errors: k.Errors, Punted: k.Punted,
			Ns: k.Ns}
		if err := k.Histogram.fill(&kernel.Latency); err != nil {
			return nil, fmt.Errorf("%s %s: %w", k.Layer, k.Op, err)
		}
		iv.Kernel[k.KernelKey] = kernel
	}
	for _, e := range l.Events {
		if !slices.Contains(eventKinds, e.Kind) {
			return nil, fmt.Errorf("unknown event %q", e.Kind)
		}
	}
	return iv, nil
}

func (g *groupLine) counts() (*Counts, error) {
	if !slices.Contains(Types, g.Type) {
		return nil, errors.New("unknown type")
	}
	if len(g.Histograms) != int(NumParts) {
		return nil, errors.New("not the histograms of all parts")
	}
	c := &Counts{Requests: g.Requests, Bytes: g.Bytes, Errors: g.Errors, Ns: g.Ns}
	for p := range NumParts {
		s, ok := g.Histograms[p.String()]
		if !ok {
			return nil, fmt.Errorf("no histogram of %s", p)
		}
		if err := s.fill(&c.Parts[p]); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	}
	return c, nil
}

// Keys returns the keys in the order in which they are listed.
func Keys(groups map[Key]*Counts) []Key {
	keys := make([]Key, 0, len(groups))
	for key := range groups {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(slices.Index(Types, a.Type)-slices.Index(Types, b.Type),
			slices.Index(Sizes, a.Size)-slices.Index(Sizes, b.Size), cmp.Compare(a.Queue, b.Queue))
	})
	return keys
}

func kernelKeys(kernel map[KernelKey]*Kernel) []KernelKey {
	keys := make([]KernelKey, 0, len(kernel))
	for key := range kernel {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b KernelKey) int {
		return cmp.Or(slices.Index(Layers, a.Layer)-slices.Index(Layers, b.Layer), cmp.Compare(a.Op, b.Op))
	})
	return keys
}
