//go:build e2e

package e2e

import (
	"context"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belay-vm/belay/mirror/witness/witnesstest"
	"github.com/belay-vm/belay/tools/pair"
)

// door is a way to an etcd that does not depend on the link between the sides, and can be shut.
type door struct {
	to, path string
	mu       sync.Mutex
	closed   bool
	through  []net.Conn // all that ever went through; closing one twice does no harm
}

// newDoor opens one to an etcd's address.
func newDoor(t *testing.T, to string) *door {
	t.Helper()
	d := &door{to: to, path: filepath.Join(t.TempDir(), "etcd")}
	l, err := net.Listen("unix", d.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go d.forward(c)
		}
	}()
	return d
}

func (d *door) endpoint() string { return "unix://" + d.path }

func (d *door) forward(c net.Conn) {
	defer c.Close()
	e, err := net.Dial("tcp", d.to)
	if err != nil {
		return
	}
	defer e.Close()
	if !d.enter(c, e) {
		return
	}
	go func() {
		defer e.Close()
		_, _ = io.Copy(e, c) // either end may go at any time
	}()
	_, _ = io.Copy(c, e)
}

// enter reports whether the door is open.
func (d *door) enter(c ...net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.through = append(d.through, c...)
	return !d.closed
}

// shut ends what is on its way, and lets nobody through any more.
func (d *door) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, c := range d.through {
		c.Close()
	}
}

func (d *door) open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = false
}

// newEtcdSides have an etcd, which each reaches through a door of its own.
func newEtcdSides(t *testing.T) *sides {
	to := strings.TrimPrefix(witnesstest.Start(t).Endpoint, "http://")
	doors := [2]*door{newDoor(t, to), newDoor(t, to)}
	s := newSides(t, 1)
	s.extra, s.doors = []string{"--plaintext", "--pair", "web"}, doors
	for id, d := range doors {
		s.own[id] = []string{"--etcd", d.endpoint()}
	}
	return s
}

// TestColoEtcd kills a primary's host: nobody has to say anything.
func TestColoEtcd(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s := newEtcdSides(t)
	s.follow(ctx)
	s.servers[pair.A].Kill()
	s.vms[pair.A].Kill()
	killed := time.Now()
	s.await(ctx, pair.B, "alone")
	t.Logf("failover: %v", time.Since(killed))
	s.goesOn(ctx, pair.B)
	s.refused(ctx, pair.A, "another generation was won")
}

// refused starts a side as the primary that must not be it.
func (p *sides) refused(ctx context.Context, id pair.ID, why string, more ...string) {
	p.t.Helper()
	side := p.net.Side(id)
	words := append(side.Inside(binary(), "pair", "primary", p.volume(id, 0), "--socket-path",
		p.socket(id, 0), "--qmp", side.Sockets().String()), slices.Concat(more, p.extra, p.own[id])...)
	out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), why) || strings.Contains(string(out), "ready") {
		p.t.Errorf("%v starts as the primary: %v\n%s", id, err, out)
	}
}

// TestColoCut cuts the link while both sides live: one goes on, and the other ends its guest.
func TestColoCut(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s := newEtcdSides(t)
	s.follow(ctx)
	s.must("cut", s.net.Cut())
	s.oneGoesOn(ctx)
}

// oneGoesOn waits until one side has ended, QEMU and all, and the other one serves. It returns which.
func (p *sides) oneGoesOn(ctx context.Context) (winner pair.ID) {
	p.t.Helper()
	select {
	case <-p.servers[pair.A].Exited():
		winner = pair.B
	case <-p.servers[pair.B].Exited():
		winner = pair.A
	case <-ctx.Done():
		p.t.Fatal("both live")
	}
	p.nothingLeft(ctx, winner.Other())
	p.await(ctx, winner, "alone")
	p.goesOn(ctx, winner)
	return winner
}

// nothingLeft waits until nothing runs on a side any more.
func (p *sides) nothingLeft(ctx context.Context, id pair.ID) {
	p.t.Helper()
	p.gone(ctx, id)
	select {
	case <-p.servers[id].Exited():
	case <-ctx.Done():
		p.t.Fatalf("the belay of %v lives", id)
	}
}
