package witness_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/belay-vm/belay/mirror/witness"
	"github.com/belay-vm/belay/mirror/witness/witnesstest"
)

var ctx = context.Background()

// partners are two views of one witness, and how to wait for a lease to end.
type partners struct {
	p, s   witness.Witness
	expire func()
}

func memory(*testing.T) partners {
	now := time.Duration(0)
	m := witness.NewMemory(func() time.Duration { return now }, time.Second)
	return partners{m.For("p", nil), m.For("s", nil), func() { now += time.Second }}
}

func etcd(t *testing.T) partners {
	server := witnesstest.Start(t)
	view := func(self string) witness.Witness { return dial(t, server, self) }
	p := partners{p: view("p"), s: view("s")}
	p.expire = func() {
		for {
			if s, err := p.p.State(ctx); err != nil || s.Holder == "" {
				return
			}
		}
	}
	return p
}

func dial(t *testing.T, server *witnesstest.Server, self string) witness.Witness {
	t.Helper()
	w, err := witness.NewEtcd(witness.EtcdConfig{
		Endpoints: []string{server.Endpoint}, Pair: "web", Self: self,
		Lease: time.Second, Timeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// want fails unless the error is the wanted one.
func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got %v, want %v", err, target)
	}
}

func won(t *testing.T, lease time.Duration, err error) {
	t.Helper()
	if err != nil || lease < time.Second {
		t.Fatalf("lease of %v, %v", lease, err)
	}
}

func lost(t *testing.T, target error) func(time.Duration, error) {
	return func(_ time.Duration, err error) { t.Helper(); want(t, err, target) }
}

func expect(t *testing.T, w witness.Witness, s witness.State) {
	t.Helper()
	if got, err := w.State(ctx); err != nil || got != s {
		t.Fatalf("%+v, %v; want %+v", got, err, s)
	}
}

// TestWitness holds every implementation with two views to the same story.
func TestWitness(t *testing.T) {
	for name, open := range map[string]func(*testing.T) partners{"memory": memory, "etcd": etcd} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			_, err := w.p.State(ctx)
			want(t, err, witness.ErrUnknownPair)
			lost(t, witness.ErrUnknownPair)(w.p.Win(ctx, 0))
			want(t, w.p.Register(ctx, 4), nil)
			want(t, w.p.Register(ctx, 4), nil) // the answer was lost
			want(t, w.s.Register(ctx, 4), witness.ErrSuperseded)
			want(t, w.p.Register(ctx, 5), witness.ErrSuperseded)
			expect(t, w.s, witness.State{Generation: 4, Winner: "p"})

			// Without leases: one wins, once.
			want(t, w.s.Claim(ctx, 3), witness.ErrSuperseded)
			want(t, w.s.Claim(ctx, 4), nil)
			want(t, w.s.Claim(ctx, 4), nil) // the answer was lost
			want(t, w.p.Claim(ctx, 4), witness.ErrSuperseded)
			want(t, w.p.Claim(ctx, 5), nil)
			expect(t, w.s, witness.State{Generation: 6, Winner: "p"})
			const g = 6

			// The primary holds: the secondary does not win before the lease ends.
			lease, err := w.p.Hold(ctx, g)
			won(t, lease, err)
			lost(t, witness.ErrHeld)(w.s.Win(ctx, g))
			want(t, w.s.Claim(ctx, g), witness.ErrHeld)
			lost(t, witness.ErrSuperseded)(w.s.Hold(ctx, g))
			lease, err = w.p.Hold(ctx, g)
			won(t, lease, err)
			w.expire()
			lease, err = w.s.Win(ctx, g)
			won(t, lease, err)
			lease, err = w.s.Win(ctx, g) // the answer was lost
			won(t, lease, err)
			expect(t, w.p, witness.State{Generation: g + 1, Winner: "s", Holder: "s"})
			lost(t, witness.ErrSuperseded)(w.p.Win(ctx, g))
			lost(t, witness.ErrSuperseded)(w.p.Hold(ctx, g))

			// Who resigns is followed at once, and by who was told of the generation.
			want(t, w.p.Resign(ctx), nil) // not the holder: nothing happens
			expect(t, w.p, witness.State{Generation: g + 1, Winner: "s", Holder: "s"})
			want(t, w.s.Resign(ctx), nil)
			expect(t, w.p, witness.State{Generation: g + 1, Winner: "s"})
			lease, err = w.p.Win(ctx, g+1)
			won(t, lease, err)
			lost(t, witness.ErrSuperseded)(w.s.Hold(ctx, g+1))
			lost(t, witness.ErrSuperseded)(w.s.Win(ctx, g+1))
		})
	}
}

// TestRace lets both win at once, again and again: one does, and both agree who.
func TestRace(t *testing.T) {
	w := etcd(t)
	want(t, w.p.Register(ctx, 0), nil)
	for from := range uint64(10) {
		results := make(chan error, 1)
		go func() { _, err := w.s.Win(ctx, from); results <- err }()
		_, pErr := w.p.Win(ctx, from)
		sErr := <-results
		if (pErr == nil) == (sErr == nil) {
			t.Fatalf("generation %d: %v and %v", from+1, pErr, sErr)
		}
		s, err := w.p.State(ctx)
		if err != nil || s.Generation != from+1 || (s.Winner == "p") != (pErr == nil) {
			t.Fatalf("%+v, %v, %v", s, err, pErr)
		}
		want(t, w.p.Resign(ctx), nil)
		want(t, w.s.Resign(ctx), nil)
	}
}

// TestEtcdComesBack: nothing is won while etcd is gone, and it remembers.
func TestEtcdComesBack(t *testing.T) {
	server := witnesstest.Start(t)
	p := dial(t, server, "p")
	want(t, p.Register(ctx, 0), nil)
	lease, err := p.Win(ctx, 0)
	won(t, lease, err)
	server.Stop()
	soon, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	lost(t, witness.ErrUnreachable)(p.Hold(soon, 1))
	server.Restart()
	lease, err = p.Hold(ctx, 1)
	won(t, lease, err)
}

// TestRestartedPartner: a new process of the same partner goes on with what the old one won.
func TestRestartedPartner(t *testing.T) {
	server := witnesstest.Start(t)
	p := dial(t, server, "p")
	want(t, p.Register(ctx, 0), nil)
	lease, err := p.Win(ctx, 0)
	won(t, lease, err)
	again := dial(t, server, "p")
	lease, err = again.Hold(ctx, 1)
	won(t, lease, err)
}

func TestEtcdConfig(t *testing.T) {
	good := witness.EtcdConfig{Endpoints: []string{"127.0.0.1:1"}, Pair: "web", Self: "p"}
	for name, change := range map[string]func(c *witness.EtcdConfig){
		"no pair":      func(c *witness.EtcdConfig) { c.Pair = "" },
		"a path":       func(c *witness.EtcdConfig) { c.Pair = "a/b" },
		"nobody":       func(c *witness.EtcdConfig) { c.Self = "" },
		"no endpoints": func(c *witness.EtcdConfig) { c.Endpoints = nil },
	} {
		c := good
		change(&c)
		if _, err := witness.NewEtcd(c); err == nil {
			t.Error(name)
		}
	}
}

func TestManual(t *testing.T) {
	p, s := witness.NewManual("p", true, 3), witness.NewManual("s", false, 3)
	lease, err := p.Hold(ctx, 3)
	won(t, lease, err)
	lost(t, witness.ErrUndecided)(s.Win(ctx, 3))
	lost(t, witness.ErrUndecided)(s.Hold(ctx, 3))
	lease, err = p.Win(ctx, 3) // goes on alone
	won(t, lease, err)
	lease, err = p.Win(ctx, 3)
	won(t, lease, err)

	s.Decide()
	lease, err = s.Win(ctx, 3)
	won(t, lease, err)
	expect(t, s, witness.State{Generation: 6, Winner: "s", Holder: "s"})
	lost(t, witness.ErrSuperseded)(s.Win(ctx, 9))
	expect(t, p, witness.State{Generation: 5, Winner: "p", Holder: "p"})
	for range 3 { // the operator was wrong, and both win more of them: never the same
		ps, _ := p.State(ctx)
		ss, _ := s.State(ctx)
		if ps.Generation%2 == ss.Generation%2 {
			t.Fatalf("generations %d and %d can meet", ps.Generation, ss.Generation)
		}
		want(t, p.Claim(ctx, ps.Generation), nil)
		want(t, s.Claim(ctx, ss.Generation), nil)
	}
	p.Follow(4)
	want(t, p.Claim(ctx, 4), witness.ErrUndecided)
	lost(t, witness.ErrUndecided)(p.Win(ctx, 4))
	want(t, p.Register(ctx, 3), witness.ErrSuperseded)
	want(t, p.Register(ctx, 4), nil)
	want(t, p.Resign(ctx), nil)
	want(t, p.Close(), nil)
}
