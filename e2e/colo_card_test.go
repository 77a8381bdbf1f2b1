//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/pair"
)

// cardPort is where a secondary's QEMU takes the primary's packets, with the next one.
const cardPort = 7010

// newCardSides are sides whose guest has a network card.
func newCardSides(t *testing.T, compared bool) *sides {
	t.Helper()
	s := newEtcdSides(t)
	s.must("network", s.net.AddLAN())
	s.args = pair.CardArgs()
	s.extra = append(s.extra, "--peer-timeout", "3s")
	if compared {
		s.extra = append(s.extra, "--net", fmt.Sprintf("%s=%d", pair.GuestNetdev, cardPort))
	}
	return s
}

// clerk starts the guest's clerk, and a client outside.
func (p *sides) clerk(ctx context.Context, id pair.ID) *client {
	p.t.Helper()
	shell(p.t, p.vms[id], pair.CardUp+"\nclerk --file /mnt/records --listen :7 >/dev/console 2>&1 &")
	c := newClient(p.t, p.net)
	p.must("the first records", c.await(ctx, 5))
	return c
}

// hostDies kills QEMU and belay of a side, in either order.
func (p *sides) hostDies(id pair.ID) {
	p.t.Helper()
	if rand.IntN(2) == 0 {
		p.servers[id].Kill()
		p.vms[id].Kill()
	} else {
		p.vms[id].Kill()
		p.servers[id].Kill()
	}
}

// TestColoCard has a client outside be told that its records are durable, and the primary's host die at any
// moment: all that it was told is there, on the disk too. Three times, to and fro.
func TestColoCard(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s := newCardSides(t, true)
	s.follow(ctx)
	c := s.clerk(ctx, pair.A)
	for from, round := pair.A, 0; round < 3; from, round = from.Other(), round+1 {
		to := from.Other()
		s.must("records", c.await(ctx, 20))
		<-time.After(time.Duration(rand.Int64N(int64(2 * time.Second))))
		s.hostDies(from)
		before := c.mark()
		s.await(ctx, to, "alone")
		s.must("records after the takeover", c.await(ctx, 3))
		t.Logf("round %d: %v", round, c.since(before))
		c.pause() // the guest has other things to do now
		s.straight(to)
		s.goesOn(ctx, to)
		s.must("the ledger drops caches", s.vms[to].AwaitRounds(ctx, 25))
		s.must("what was told", c.verify(ctx))
		c.resume()
		if round == 2 {
			break
		}
		s.secondary(from)
		s.boot(ctx, from, s.net.Side(from).URI(coloPort))
		cli(t, "reprotect", s.volume(to, 0), "--peer", s.address(from),
			"--migrate-uri", s.net.Side(from).URI(coloPort))
		s.await(ctx, to, "protected")
		s.must("checkpoints", s.vms[to].Checkpoints(ctx, 4))
	}
}

// TestColoCardFinds has nobody compare what the guest says: then a client is told what a takeover forgets.
// The test above would notice.
func TestColoCardFinds(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s := newCardSides(t, false)
	s.must("unplug", s.net.PlugCard(pair.B, false)) // nobody else keeps the secondary's guest from talking
	s.follow(ctx)
	c := s.clerk(ctx, pair.A)
	a := s.vms[pair.A]
	delay := map[string]int{"x-checkpoint-delay": 8000}
	s.must("a longer delay", a.VM.QMP("migrate-set-parameters", delay, nil))
	s.must("checkpoints", a.Checkpoints(ctx, 2)) // the first one may have the old delay behind it
	s.must("records", c.await(ctx, 20))
	c.pause()
	s.hostDies(pair.A)
	s.await(ctx, pair.B, "alone")
	s.must("plug", s.net.PlugCard(pair.B, true))
	if err := c.verify(ctx); !errors.Is(err, errLost) {
		t.Errorf("nothing is lost: %v", err)
	}
	c.resume()
}

// straight looks whether nothing but the rewriting of old connections stands in the card's way.
func (p *sides) straight(id pair.ID) {
	p.t.Helper()
	var list []struct{ Name string }
	p.must("qom-list", p.vms[id].VM.QMP("qom-list", map[string]string{"path": "/objects"}, &list))
	for _, o := range list {
		if strings.HasPrefix(o.Name, "belay-") && !strings.HasSuffix(o.Name, "-rewrite") {
			p.t.Errorf("%s is left", o.Name)
		}
	}
}
