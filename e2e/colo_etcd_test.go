//go:build e2e

package e2e

import (
	"context"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/belay-vm/belay/mirror/witness/witnesstest"
	"github.com/belay-vm/belay/tools/pair"
)

// etcdSocket runs an etcd that both sides reach, whatever becomes of the link between them, and
// returns its endpoint.
func etcdSocket(t *testing.T) string {
	t.Helper()
	server := strings.TrimPrefix(witnesstest.Start(t).Endpoint, "http://")
	path := filepath.Join(t.TempDir(), "etcd")
	l, err := net.Listen("unix", path)
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
			go forward(c, server)
		}
	}()
	return "unix://" + path
}

func forward(c net.Conn, to string) {
	defer c.Close()
	d, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer d.Close()
	go func() {
		defer d.Close()
		_, _ = io.Copy(d, c) // either end may go at any time
	}()
	_, _ = io.Copy(c, d)
}

func newEtcdSides(t *testing.T) *sides {
	endpoint := etcdSocket(t)
	s := newSides(t, 1)
	s.extra = []string{"--plaintext", "--pair", "web", "--etcd", endpoint}
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
		p.socket(id, 0), "--qmp", side.Sockets().String()), append(more, p.extra...)...)
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
	var winner pair.ID
	select {
	case <-s.servers[pair.A].Exited():
		winner = pair.B
	case <-s.servers[pair.B].Exited():
		winner = pair.A
	case <-ctx.Done():
		t.Fatal("both live")
	}
	select {
	case <-s.vms[winner.Other()].Done():
	case <-ctx.Done():
		t.Fatal("both guests live")
	}
	s.await(ctx, winner, "alone")
	s.goesOn(ctx, winner)
}
