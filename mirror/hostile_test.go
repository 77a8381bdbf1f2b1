package mirror

import (
	"context"
	"net"
	"testing"
	"time"
)

// hostile speaks as a primary, frame by frame, and may say what it likes.
type hostile struct {
	t *testing.T
	c *conn
	s *side
	g *pairing
}

// attack opens a secondary's session with a hostile primary.
func attack(t *testing.T) *hostile {
	t.Helper()
	g := newPairing()
	h := &hostile{t: t, g: g}
	a, b := tcp(t)
	h.s = &side{events: make(chan Event, 100)}
	g.s.Event = func(e Event) { h.s.events <- e }
	h.greet(a, g.p.Hello, func() error {
		var err error
		h.s.Session, err = Open(context.Background(), b, g.s)
		return err
	})
	t.Cleanup(func() { a.Close(); h.s.Close() })
	return h
}

// greet goes through the handshake by hand.
func (h *hostile) greet(c net.Conn, own Hello, open func() error) {
	h.t.Helper()
	done := make(chan error)
	go func() { done <- open() }()
	never := make(chan struct{})
	h.c = newConn(c, time.Minute, never)
	h.c.generation = 3
	if err := writeAll(c, own.encode()); err != nil {
		h.t.Fatal(err)
	}
	if _, err := readHello(h.c.r); err != nil {
		h.t.Fatal(err)
	}
	h.say(kindWelcome, 0, &empty{}, nil)
	if _, err := h.c.read(); err != nil {
		h.t.Fatal(err)
	}
	if err := <-done; err != nil {
		h.t.Fatal(err)
	}
}

func (h *hostile) say(kind Kind, disk int, b body, bulk []byte) {
	if err := h.c.locked(func() error {
		h.c.begin(kind, disk, b, int64(len(bulk)))
		return h.c.send(h.c.head, bulk)
	}); err != nil {
		h.t.Log(err) // the session may have ended
	}
}

// synced goes through a synchronisation of nothing.
func (h *hostile) synced() {
	for i, d := range h.g.p.Hello.Disks {
		h.say(kindSyncBegin, i, &SyncPlan{Run: runA, Size: d.Size}, nil)
		h.say(kindSyncEnd, i, &syncEnd{runA, 0}, nil)
	}
}

func (h *hostile) data(disk int, epoch uint64, off int64, n int) {
	content := filled(n, 1)
	h.say(kindData, disk, &data{epoch, []extent{{off: off, len: int64(n), sum: Checksum(content)}}}, content)
}

func nothing(disks int) []Count { return make([]Count, disks) }

func TestHostilePrimary(t *testing.T) {
	syncPart := &syncData{runA, []extent{{off: 0, len: 512, zero: true}}}
	for _, c := range []struct {
		name string
		do   func(h *hostile)
		want error
	}{
		{"hello again", func(h *hostile) { h.say(kindWelcome, 0, &empty{}, nil) }, ErrSequence},
		{"a secondary's words", func(h *hostile) { h.say(kindAck, 0, num(0), nil) }, ErrSequence},
		{"older generation", func(h *hostile) { h.c.generation = 2; h.say(kindPing, 0, &empty{}, nil) },
			ErrOlderGeneration},
		{"newer generation", func(h *hostile) { h.c.generation = 4; h.say(kindPing, 0, &empty{}, nil) }, ErrFormat},
		{"unknown disk", func(h *hostile) { h.synced(); h.data(2, 0, 0, 512) }, ErrFormat},
		{"data before synchronisation", func(h *hostile) { h.data(0, 0, 0, 512) }, ErrSequence},
		{"seal before synchronisation", func(h *hostile) { h.say(kindSeal, 0, &seal{0, nil, nothing(2)}, nil) },
			ErrSequence},
		{"data outside", func(h *hostile) { h.synced(); h.data(1, 0, 1<<20-512, 1024) }, ErrFormat},
		{"data far outside", func(h *hostile) { h.synced(); h.data(1, 0, 1<<62, 1024) }, ErrFormat},
		{"data of another epoch", func(h *hostile) { h.synced(); h.data(1, 1, 0, 512) }, ErrSequence},
		{"data after a seal", func(h *hostile) {
			h.synced()
			h.say(kindSeal, 0, &seal{0, nil, nothing(2)}, nil)
			h.data(1, 1, 0, 512)
		}, ErrSequence},
		{"seal that counts less", func(h *hostile) {
			h.synced()
			h.data(1, 0, 0, 512)
			h.say(kindSeal, 0, &seal{0, nil, nothing(2)}, nil)
		}, ErrIncomplete},
		{"seal of fewer disks", func(h *hostile) { h.synced(); h.say(kindSeal, 0, &seal{0, nil, nothing(1)}, nil) },
			ErrFormat},
		{"seal twice", func(h *hostile) {
			h.synced()
			h.say(kindSeal, 0, &seal{0, nil, nothing(2)}, nil)
			h.say(kindSeal, 0, &seal{1, nil, nothing(2)}, nil)
		}, ErrSequence},
		{"ring start without a seal", func(h *hostile) { h.say(kindRingStart, 0, num(0), nil) }, ErrSequence},
		{"synchronisation twice", func(h *hostile) { h.synced(); h.synced() }, ErrSequence},
		{"two runs", func(h *hostile) {
			h.say(kindSyncBegin, 0, &SyncPlan{Run: runA, Size: diskSize}, nil)
			h.say(kindSyncBegin, 1, &SyncPlan{Run: ID{1}, Size: 1 << 20}, nil)
		}, ErrSequence},
		{"synchronisation of another size", func(h *hostile) {
			h.say(kindSyncBegin, 0, &SyncPlan{Run: runA, Size: 512}, nil)
		}, ErrFormat},
		{"content of no synchronisation", func(h *hostile) { h.say(kindSyncData, 0, syncPart, nil) }, ErrSequence},
		{"synchronisation that counts more", func(h *hostile) {
			h.say(kindSyncBegin, 0, &SyncPlan{Run: runA, Size: diskSize}, nil)
			h.say(kindSyncData, 0, syncPart, nil)
			h.say(kindSyncEnd, 0, &syncEnd{runA, 1024}, nil)
		}, ErrIncomplete},
		{"verification outside", func(h *hostile) {
			h.say(kindVerify, 1, &verify{1, 4096, markA, Range{1 << 20, 4096}}, nil)
		}, ErrFormat},
		{"rubbish", func(h *hostile) { writeAll(h.c.net, filled(100, 1)) }, ErrFormat},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := attack(t)
			c.do(h)
			h.s.ended(t, c.want)
		})
	}
}

// TestHostileFlood sends more than there is room for, while the store takes nothing: what is too
// much is not even kept.
func TestHostileFlood(t *testing.T) {
	h := attack(t)
	h.synced()
	held := h.g.sink.hold()
	for range 8 {
		h.data(0, 0, 0, maxBulk)
	}
	<-h.s.read
	h.s.in.queue.mu.Lock()
	if n := h.s.in.queue.bytes; n > 6<<20 {
		t.Errorf("%d bytes are kept", n)
	}
	h.s.in.queue.mu.Unlock()
	close(held)
	h.s.ended(t, ErrWindow)
}

// TestHostileSecondary lets a secondary answer what nobody asked.
func TestHostileSecondary(t *testing.T) {
	for _, c := range []struct {
		name string
		kind Kind
		disk int
		body body
		want error
	}{
		{"ack without a seal", kindAck, 0, num(0), ErrSequence},
		{"report without a seal", kindReport, 0, &report{0, Base}, ErrSequence},
		{"credit for nothing", kindCredit, 0, num(100), ErrWindow},
		{"renewal unasked", kindRenewed, 0, num(1), ErrSequence},
		{"synchronisation unasked", kindSyncHave, 0, &syncHave{run: runA}, ErrSequence},
		{"end unasked", kindSyncDone, 0, &syncDone{run: runA}, ErrSequence},
		{"checksums unasked", kindSums, 0, &sums{id: 1}, ErrSequence},
		{"start ack unasked", kindStartAck, 0, num(0), ErrSequence},
		{"shutdown ack unasked", kindShutdownAck, 0, &empty{}, ErrSequence},
		{"a primary's words", kindRingStart, 0, num(0), ErrSequence},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newPairing()
			h := &hostile{t: t, g: g, s: &side{}}
			a, b := tcp(t)
			h.greet(a, g.s.Hello, func() error {
				var err error
				h.s.Session, err = Open(context.Background(), b, g.p)
				return err
			})
			defer a.Close()
			h.say(c.kind, c.disk, c.body, nil)
			h.s.ended(t, c.want)
		})
	}
}
