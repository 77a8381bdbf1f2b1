package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// memDisk is a Source, a SyncSource and a place for content.
type memDisk struct {
	mu       sync.Mutex
	content  []byte
	changed  []Change
	cut      bool
	wake     chan struct{}
	released int
	taken    int
	arrived  int
}

func newMemDisk(size int) *memDisk {
	return &memDisk{content: make([]byte, size), wake: make(chan struct{})}
}

// write is the guest's.
func (d *memDisk) write(off int, p []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.content[off:], p)
	d.changed = append(d.changed, Change{
		Off: int64(off), Len: int64(len(p)), From: bytes.NewReader(bytes.Clone(p)),
	})
	d.signal()
}

func (d *memDisk) zero(off, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.content[off : off+n])
	d.changed = append(d.changed, Change{Off: int64(off), Len: int64(n), Zero: true})
	d.signal()
}

// close cuts the epoch.
func (d *memDisk) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = true
	d.signal()
}

func (d *memDisk) signal() {
	close(d.wake)
	d.wake = make(chan struct{})
}

func (d *memDisk) Next(max int) (Batch, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(len(d.changed), 5)
	b := Batch{Changes: d.changed[:n:n], Wait: d.wake}
	d.changed = d.changed[n:]
	if len(d.changed) == 0 && d.cut {
		b.Done, d.cut = true, false
	}
	d.taken++
	b.Release = func(arrived bool) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.released++; arrived {
			d.arrived++
		}
	}
	return b, nil
}

// point is the disk at a fixed point, as a Source for synchronisation.
type point struct {
	content []byte
	step    int
	skip    []Range
	off     int64
	fail    int64        // the offset at which it breaks; 0: never
	given   int64        // batches
	lost    atomic.Int64 // of these, released as not arrived
	arrived atomic.Int64 // or as arrived
}

var errBroken = errors.New("broken on purpose")

// prepare begins anew, without what the secondary has.
func (p *point) prepare(have []Range) (Source, error) {
	p.off, p.skip = 0, have
	return p, nil
}

func (p *point) Next(max int) (Batch, error) {
	if p.fail > 0 && p.off >= p.fail {
		return Batch{}, errBroken
	}
	next := min(p.off+int64(p.step), int64(len(p.content)))
	b := Batch{Done: next == int64(len(p.content)), Release: func(arrived bool) {
		if arrived {
			p.arrived.Add(1)
		} else {
			p.lost.Add(1)
		}
	}}
	for _, r := range Without([]Range{{p.off, next - p.off}}, p.skip) {
		c := Change{Off: r.Off, Len: r.Len, From: bytes.NewReader(p.content), At: r.Off}
		c.Zero = len(bytes.Trim(p.content[r.Off:r.Off+r.Len], "\x00")) == 0
		b.Changes = append(b.Changes, c)
	}
	b.Wait = ready
	p.given++
	p.off = next
	return b, nil
}

// ready is a Wait that need not be waited for.
var ready = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// memSink is a secondary's store in memory: what is durable survives in it from session to session.
type memSink struct {
	mu     sync.Mutex
	disks  [][]byte // current, or being synchronised
	staged [][]byte // with the open epochs
	have   map[ID][]Range
	wrote  int64 // bytes of synchronisation
	begun  []SyncPlan
	block  chan struct{} // nil: writes do not wait
	err    error
	slow   time.Duration // how long a flush takes
}

func newMemSink(sizes ...int64) *memSink {
	k := &memSink{have: map[ID][]Range{}}
	for _, n := range sizes {
		k.disks = append(k.disks, make([]byte, n))
		k.staged = append(k.staged, nil)
	}
	return k
}

func (k *memSink) SyncBegin(plan SyncPlan) ([]Range, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.begun = append(k.begun, plan)
	have, again := k.have[plan.Run]
	if !again && plan.From.IsZero() {
		clear(k.disks[plan.Disk])
	}
	return have, k.err
}

func (k *memSink) SyncWrite(disk int, list []Piece) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range list {
		put(k.disks[disk], p)
		k.wrote += p.Len
		run := k.begun[len(k.begun)-1].Run
		k.have[run] = merge(k.have[run], Range{p.Off, p.Len})
	}
	return k.err
}

func merge(list []Range, r Range) []Range {
	if n := len(list); n > 0 && list[n-1].Off+list[n-1].Len == r.Off {
		list[n-1].Len += r.Len
		return list
	}
	return append(list, r)
}

func put(dst []byte, p Piece) {
	if p.Data == nil {
		clear(dst[p.Off : p.Off+p.Len])
		return
	}
	copy(dst[p.Off:], p.Data)
}

func (k *memSink) SyncFlush(disk int) (int64, error) {
	<-time.After(k.slow)
	return k.wrote, k.err
}

func (k *memSink) SyncEnd(at Mark, disk int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.staged[disk] = bytes.Clone(k.disks[disk])
	return k.err
}

func (k *memSink) Write(disk int, epoch uint64, list []Piece) error {
	k.mu.Lock()
	block := k.block
	k.mu.Unlock()
	if block != nil {
		<-block
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range list {
		put(k.staged[disk], p)
	}
	return k.err
}

// hold makes writes wait.
func (k *memSink) hold() chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.block = make(chan struct{})
	return k.block
}

func (k *memSink) Seal(epoch uint64) error { return k.err }

// ReadMark has only one mark.
func (k *memSink) ReadMark(at Mark, disk int, p []byte, off int64) error {
	if at != (Mark{3, Base}) {
		return ErrUnknownMark
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	copy(p, k.disks[disk][off:])
	return nil
}

// side is one partner in a test.
type side struct {
	*Session
	events chan Event
}

// expect waits for the next event; progress may come before it.
func (s *side) expect(t *testing.T, want Event) {
	t.Helper()
	got := <-s.events
	if _, progress := want.(Progress); !progress {
		for got == (Event)(Progress{}) {
			got = <-s.events
		}
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Fatalf("got %T%+v, want %T%+v", got, got, want, want)
	}
}

func (s *side) ended(t *testing.T, want error) {
	t.Helper()
	<-s.Done()
	if !errors.Is(s.Err(), want) {
		t.Fatalf("ended with %v, want %v", s.Err(), want)
	}
}

// pairing makes sessions over a connection.
type pairing struct {
	p, s   Config
	source []*memDisk
	sink   *memSink
}

const diskSize = 4 << 20

// newPairing has two disks of 4 MiB and 1 MiB.
func newPairing() *pairing {
	clock := func() time.Duration { return time.Since(time.Unix(1, 0)) }
	ours := []DiskHello{{ID{1}, ID{11}, diskSize}, {ID{2}, ID{12}, 1 << 20}}
	theirs := []DiskHello{{ID{11}, ID{1}, diskSize}, {ID{12}, ID{}, 1 << 20}}
	g := &pairing{sink: newMemSink(diskSize, 1<<20)}
	for _, d := range ours {
		g.source = append(g.source, newMemDisk(int(d.Size)))
	}
	g.p = Config{Clock: clock, Hello: Hello{
		Role: Primary, Generation: 3, Name: "web", Disks: ours,
	}}
	g.s = Config{Sink: g.sink, Reader: g.sink, Hello: Hello{
		Role: Secondary, Generation: 2, Name: "web", Disks: theirs, Window: 4 << 20,
	}}
	return g
}

// connect opens both sessions over a pair of connections.
func (g *pairing) connect(t *testing.T, a, b net.Conn) (p, s *side) {
	t.Helper()
	p, s = &side{events: make(chan Event, 1000)}, &side{events: make(chan Event, 1000)}
	g.p.Event = func(e Event) { p.events <- e }
	g.s.Event = func(e Event) { s.events <- e }
	done := make(chan error, 1)
	go func() {
		var err error
		s.Session, err = Open(context.Background(), b, g.s)
		done <- err
	}()
	var err error
	p.Session, err = Open(context.Background(), a, g.p)
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(); s.Close() })
	return p, s
}

// tcp is a pair of connections over the loopback device.
func tcp(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// sync brings both disks to the run's point.
func (g *pairing) sync(t *testing.T, p, s *side) *Stream {
	t.Helper()
	for i, d := range g.source {
		plan := SyncPlan{Run: runA, Disk: i, Size: int64(len(d.content))}
		src := &point{content: d.content, step: 300 << 10}
		if err := p.Sync(context.Background(), plan, src.prepare, SyncOptions{}); err != nil {
			s.Close()
			t.Fatal(err, s.Err())
		}
		s.expect(t, SyncBegun{plan})
		s.expect(t, SyncEnded{runA, i})
	}
	return p.Stream([]Source{g.source[0], g.source[1]})
}

func (g *pairing) same(t *testing.T) {
	t.Helper()
	for i, d := range g.source {
		if !bytes.Equal(d.content, g.sink.staged[i]) {
			t.Errorf("disk %d differs", i)
		}
	}
}

// filled is n bytes that are no zeroes.
func filled(n int, v byte) []byte { return bytes.Repeat([]byte{v | 1}, n) }

var _ io.ReaderAt = (*bytes.Reader)(nil)
