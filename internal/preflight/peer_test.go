package preflight

import (
	"context"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/belay-vm/belay/internal/certtest"
	"github.com/belay-vm/belay/internal/pairview"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/mirror/witness"
)

func hello() mirror.Hello {
	return mirror.Hello{Name: "web", Generation: 3, Window: 1 << 21,
		Disks: []mirror.DiskHello{{ID: mirror.ID{1}, Size: 1 << 20}}}
}

// host answers visitors as the secondary does.
func host(t *testing.T, tr mirror.Transport, h mirror.Hello) string {
	t.Helper()
	h.Role = mirror.Secondary
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if c, err = tr.Accepted(context.Background(), c); err == nil {
				_, err = mirror.Open(context.Background(), c, mirror.Config{Hello: h})
			}
			if err == nil {
				t.Error("a visitor stays")
			}
		}
	}()
	return l.Addr().String()
}

func secured(t *testing.T, a *certtest.Authority, name string) mirror.Transport {
	t.Helper()
	cert, key := a.Make(name, nil)
	c, err := mirror.LoadTLS(cert, key, a.File)
	must(t, err)
	return mirror.Transport{TLS: c}
}

// TestPeer visits peers that fit and peers that do not.
func TestPeer(t *testing.T) {
	ours, theirs := certtest.New(t), certtest.New(t)
	plain := mirror.Transport{Timeout: 10 * time.Second}
	tls := secured(t, ours, "127.0.0.1")
	for _, row := range []struct {
		name   string
		from   mirror.Transport
		to     mirror.Transport
		change func(*mirror.Hello)
		result pairview.Result
		says   string
	}{
		{name: "plain", from: plain, to: plain, result: pairview.OK, says: "same size"},
		{name: "TLS", from: tls, to: tls, result: pairview.OK, says: "same size"},
		{name: "another authority", from: tls, to: secured(t, theirs, "127.0.0.1"), result: pairview.Missing,
			says: "--tls-ca"},
		{name: "another name", from: tls, to: secured(t, ours, "127.0.0.9"), result: pairview.Missing,
			says: "names"},
		{name: "TLS here only", from: tls, to: plain, result: pairview.Missing},
		{name: "TLS there only", from: plain, to: tls, result: pairview.Missing, says: "TLS on both sides"},
		{name: "another pair", from: plain, to: plain, change: func(h *mirror.Hello) { h.Name = "db" },
			result: pairview.Missing, says: "--pair"},
		{name: "another size", from: plain, to: plain, change: func(h *mirror.Hello) { h.Disks[0].Size *= 2 },
			result: pairview.Missing, says: "same size"},
		{name: "another volume", from: plain, to: plain,
			change: func(h *mirror.Hello) { h.Disks[0].Peer = mirror.ID{9} }, result: pairview.Missing,
			says: "same order"},
		{name: "served since", from: plain, to: plain, change: func(h *mirror.Hello) { h.Generation = 4 },
			result: pairview.Missing, says: "belay pair secondary"},
	} {
		t.Run(row.name, func(t *testing.T) {
			there := hello()
			there.Disks[0].ID = mirror.ID{2}
			if row.change != nil {
				row.change(&there)
			}
			f := Peer(background(t), row.from, host(t, row.to, there), hello())
			if f.Result != row.result || !strings.Contains(f.String(), row.says) {
				t.Errorf("%s: %v", f.Result, f)
			}
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	if f := Listen(l.Addr().String()); f.Result != pairview.Missing {
		t.Errorf("a port that is taken: %v", f)
	}
	must(t, l.Close())
	if f := Peer(background(t), plain, l.Addr().String(), hello()); f.Result != pairview.Missing {
		t.Errorf("nobody there: %v", f)
	}
	if f := Listen(l.Addr().String()); f.Result != pairview.OK {
		t.Errorf("a port that is free: %v", f)
	}
}

// TestCertificate judges this side's certificate as the peer will.
func TestCertificate(t *testing.T) {
	ours, theirs := certtest.New(t), certtest.New(t)
	long := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(1000 * time.Hour) }
	for _, row := range []struct {
		name   string
		by     *certtest.Authority
		host   string
		change func(*x509.Certificate)
		result pairview.Result
	}{
		{"good", ours, "192.0.2.1", long, pairview.OK},
		{"name not known", ours, "", long, pairview.OK},
		{"any address", ours, "0.0.0.0", long, pairview.OK},
		{"runs out soon", ours, "192.0.2.1", nil, pairview.Note},
		{"has run out", ours, "192.0.2.1", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) },
			pairview.Missing},
		{"another name", ours, "192.0.2.2", long, pairview.Missing},
		{"another authority", theirs, "192.0.2.1", long, pairview.Missing},
		{"of a server only", ours, "192.0.2.1", func(c *x509.Certificate) {
			long(c)
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}, pairview.Missing},
	} {
		cert, key := row.by.Make("192.0.2.1", row.change)
		c, err := mirror.LoadTLS(cert, key, ours.File)
		must(t, err)
		if f := Certificate(c, row.host); f.Result != row.result {
			t.Errorf("%s: %s, %v", row.name, f.Result, f)
		}
	}
}

// TestMigrateURI wants an address, and calls nobody.
func TestMigrateURI(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	for uri, want := range map[string]pairview.Result{
		"tcp:" + l.Addr().String(): pairview.OK, "tcp:127.0.0.1": pairview.Missing, "tcp::7001": pairview.Missing,
		"tcp:host.invalid:7001": pairview.Missing, "unix:/run/x": pairview.Note,
	} {
		if f := MigrateURI(background(t), uri); f.Result != want {
			t.Errorf("%s: %s, %v", uri, f.Result, f)
		}
	}
	must(t, l.(*net.TCPListener).SetDeadline(time.Now()))
	if _, err := l.Accept(); err == nil {
		t.Error("somebody called where QEMU awaits the guest")
	}
}

// TestWitness asks an etcd that knows more or less than this side.
func TestWitness(t *testing.T) {
	ctx := context.Background()
	for _, row := range []struct {
		name       string
		generation uint64 // that the witness knows; 0: none
		winner     string
		own        uint64
		primary    bool
		away       bool
		result     pairview.Result
	}{
		{name: "new", result: pairview.OK},
		{name: "forgotten", own: 3, result: pairview.Note},
		{name: "known", generation: 3, winner: "a", own: 3, primary: true, result: pairview.OK},
		{name: "won and not written", generation: 4, winner: "a", own: 3, primary: true, result: pairview.OK},
		{name: "superseded", generation: 4, winner: "b", own: 3, primary: true, result: pairview.Missing},
		{name: "secondary behind", generation: 4, winner: "b", own: 3, result: pairview.OK},
		{name: "away", away: true, result: pairview.Missing},
	} {
		m := witness.NewMemory(mirror.BootClock, 0)
		if row.generation > 0 {
			must(t, m.For(row.winner, nil).Register(ctx, row.generation))
		}
		w := m.For("a", func() bool { return !row.away })
		if f := Witness(ctx, w, row.primary, row.own, "a"); f.Result != row.result {
			t.Errorf("%s: %s, %v", row.name, f.Result, f)
		}
	}
}
