package mirror

import (
	"bytes"
	"errors"
	"net"
	"os"
	"testing"
)

// fileOf makes a file of 3 MiB whose parts differ.
func fileOf(t *testing.T) (*os.File, []byte) {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = byte(i>>9) ^ byte(i)
	}
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	return f, content
}

// TestWays sends from a file. The kernel carries what it can, and everything arrives by each way: by
// plain TCP, by TLS, and in small pieces.
func TestWays(t *testing.T) {
	far := func(i int) int { return i * 3 }
	near := func(i int) int { return i + i/100*50 }
	for _, c := range []struct {
		name    string
		link    func(*testing.T) (a, b net.Conn)
		where   func(int) int
		carried bool
	}{
		{"TCP", tcp, near, true}, {"TCP, pieces", tcp, far, false}, {"TLS", tlsPair, near, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, content := fileOf(t)
			g := newPairing()
			a, b := c.link(t)
			p, s := g.connect(t, a, b)
			st := g.sync(t, p, s)
			before := p.Stats()
			d := g.source[0]
			d.mu.Lock()
			for i := range 200 {
				off := c.where(i) * 4096
				part := content[off : off+4096]
				d.changed = append(d.changed, Change{Off: int64(off), Len: 4096, From: f, At: int64(off),
					Sum: Checksum(part), Summed: true})
				copy(d.content[off:], part)
			}
			d.mu.Unlock()
			d.zero(4096, 4096)
			checkpoint(t, g, st, p, s, 0)
			carried, read := p.Stats().Carried-before.Carried, p.Stats().Read-before.Read
			if carried+read != 200*4096 || (carried > 0) != c.carried || c.carried && read > 0 {
				t.Errorf("%d bytes were carried, %d read", carried, read)
			}
			p.Close()
			if d.released != d.taken {
				t.Errorf("%d of %d batches released", d.released, d.taken)
			}
		})
	}
}

var errNamed = errors.New("this one is damaged")

// verified is a source that knows what is wrong.
type verified struct {
	*memDisk
	asked chan Range
}

func (v verified) Next(max int) (Batch, error) {
	b, err := v.memDisk.Next(max)
	b.Verify = func(off, n int64) error {
		v.asked <- Range{off, n}
		return errNamed
	}
	return b, err
}

// TestDamage : content that is not what the guest wrote is not stored, and the primary says which it is:
// before it goes out if it is read there, otherwise when the secondary refuses it.
func TestDamage(t *testing.T) {
	for _, carried := range []bool{false, true} {
		f, _ := fileOf(t)
		g := newPairing()
		a, b := tcp(t)
		p, s := g.connect(t, a, b)
		g.sync(t, p, s)
		v := verified{newMemDisk(4 << 20), make(chan Range, 1)}
		c := Change{Off: 8192, Len: 64 << 10, From: f, At: 4096, Sum: 5, Summed: true}
		if !carried {
			c.From = bytes.NewReader(filled(1<<20, 3))
		}
		v.changed = append(v.changed, c)
		b1, err := v.Next(maxBulk)
		if err != nil {
			t.Fatal(err)
		}
		sendErr := p.sendBatch(&pump{st: &Stream{s: p.Session}}, b1)
		if carried && sendErr != nil || !carried && !errors.Is(sendErr, errNamed) {
			t.Errorf("carried %v: sending: %v", carried, sendErr)
		}
		if carried {
			p.ended(t, errNamed)
			s.ended(t, ErrChecksum)
		}
		if got := <-v.asked; got != (Range{8192, 64 << 10}) {
			t.Errorf("carried %v: asked for %v", carried, got)
		}
		p.Close()
		s.Close()
		if v.released != 1 || v.arrived != 0 {
			t.Errorf("carried %v: %d batches released, %d arrived", carried, v.released, v.arrived)
		}
		if !bytes.Equal(g.sink.staged[0], g.source[0].content) {
			t.Errorf("carried %v: it was stored", carried)
		}
	}
}

// TestDamagedOnTheWay : what is whole at the primary was damaged on its way, which both sides say.
func TestDamagedOnTheWay(t *testing.T) {
	g := newPairing()
	a, b := tcp(t)
	p, s := g.connect(t, a, b)
	g.sync(t, p, s)
	if err := s.conn.write(kindDamaged, 1, &Range{4096, 4096}); err != nil {
		t.Fatal(err)
	}
	p.ended(t, ErrChecksum)
	s.ended(t, ErrLost)
}
