package bpf

import (
	"math/rand/v2"
	"testing"

	"github.com/belay-vm/belay/internal/hist"
	"github.com/belay-vm/belay/internal/probe"
)

var sizes = []uint32{0, 1, 4 << 10, 4<<10 + 1, 16 << 10, 64 << 10, 64<<10 + 512, 256 << 10, 1 << 20}

// randomRequest has parts of any length, from nothing to minutes.
func randomRequest(rng *rand.Rand, queue uint16) probe.Request {
	span := func() uint64 { return rng.Uint64() >> (26 + rng.IntN(38)) }
	r := probe.Request{
		Looked: 1 + span(), Device: span(), Sector: rng.Uint64(), Epoch: rng.Uint64N(9), Queue: queue,
		Type: probe.Type(rng.IntN(int(probe.NumTypes))), Bytes: sizes[rng.IntN(len(sizes))],
		Status: uint8(rng.IntN(3)),
	}
	r.Taken = r.Looked + span()
	r.Settled = r.Taken + r.Device + span()
	r.Published = r.Settled + span()
	return r
}

func classOf(bytes uint32) SizeClass {
	for class, most := range []uint32{0, 4 << 10, 16 << 10, 64 << 10, 256 << 10} {
		if bytes <= most {
			return SizeClass(class)
		}
	}
	return SizeMore
}

// reckon counts as the programs should.
func reckon(into map[Key]*Parts, r *probe.Request) {
	key := Key{r.Queue, r.Type, classOf(r.Bytes)}
	p := into[key]
	if p == nil {
		p = &Parts{}
		into[key] = p
	}
	p.Requests++
	p.Bytes += uint64(r.Bytes)
	if r.Status != 0 {
		p.Errors++
	}
	for i, part := range []struct {
		h  *hist.Histogram
		ns uint64
	}{
		{&p.Total, r.Total()}, {&p.Ring, r.Ring()}, {&p.Store, r.Store()}, {&p.Device, r.Device},
		{&p.Publication, r.Publication()},
	} {
		part.h[hist.Slot(part.ns)]++
		p.Ns[i] += part.ns
	}
}

func compare(t *testing.T, got, want map[Key]*Parts) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d keys, want %d", len(got), len(want))
	}
	for key, w := range want {
		g := got[key]
		if g == nil {
			t.Errorf("%v is missing", key)
		} else if *g != *w {
			t.Errorf("%v: %d requests, %d bytes, %d errors, %v ns; want %d, %d, %d, %v", key,
				g.Requests, g.Bytes, g.Errors, g.Ns, w.Requests, w.Bytes, w.Errors, w.Ns)
		}
	}
}

func snapshot(t testing.TB, tracer *Tracer) *Snapshot {
	t.Helper()
	s, err := tracer.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Every record of batches of any size is counted, exactly, in its slot of every part.
func TestRequestsExact(t *testing.T) {
	p := start(t)
	tracer := p.attach(Options{})
	rng := rand.New(rand.NewPCG(4, 1))
	want, batches := map[Key]*Parts{}, uint64(0)
	for _, n := range []int{1, 2, 15, 16, 17, 31, 32, 33, 64, 65, 256, 1000, 4096} {
		for range 3 {
			queue := []uint16{0, 1, 255}[rng.IntN(3)]
			records := make([]probe.Request, n)
			for i := range records {
				records[i] = randomRequest(rng, queue)
				reckon(want, &records[i])
			}
			p.requests(records, 0)
			batches++
		}
	}
	p.requests([]probe.Request{randomRequest(rng, 0)}, 3) // another volume of the process
	s := snapshot(t, tracer)
	compare(t, s.Parts, want)
	if s.Batches != batches || s.Dropped+s.Lost != 0 {
		t.Errorf("%d batches, %d dropped, %d lost; want %d, none", s.Batches, s.Dropped, s.Lost, batches)
	}
}

// What is not counted is counted as lost: queues beyond the tables.
func TestLost(t *testing.T) {
	p := start(t)
	tracer := p.attach(Options{})
	rng := rand.New(rand.NewPCG(4, 2))
	p.requests([]probe.Request{randomRequest(rng, 256), randomRequest(rng, 256)}, 0)
	if s := snapshot(t, tracer); s.Lost != 2 || len(s.Parts) != 0 {
		t.Errorf("%d lost, %d keys, want 2 and none", s.Lost, len(s.Parts))
	}
}

func TestKicksAndNotifications(t *testing.T) {
	p := start(t)
	tracer := p.attach(Options{Volume: 2, Signals: true})
	p.tell(opKick, 1000, nil, 2, 0)
	p.tell(opKick, 10, nil, 2, 5)
	p.tell(opKick, 10, nil, 0, 5)
	p.tell(opNotify, 77, nil, 2, 1)
	if s := snapshot(t, tracer); s.Kicks != 1010 || s.Notifications != 77 {
		t.Errorf("%d kicks, %d notifications", s.Kicks, s.Notifications)
	}
}

// Two tracers on one process do not disturb each other, nor do other processes count.
func TestTwoTracers(t *testing.T) {
	p, other := start(t), start(t)
	a, b := p.attach(Options{}), p.attach(Options{})
	rng := rand.New(rand.NewPCG(4, 3))
	want := map[Key]*Parts{}
	r := []probe.Request{randomRequest(rng, 0)}
	reckon(want, &r[0])
	p.requests(r, 0)
	other.requests(r, 0)
	compare(t, snapshot(t, a).Parts, want)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	p.requests(r, 0)
	reckon(want, &r[0])
	compare(t, snapshot(t, b).Parts, want)
}
