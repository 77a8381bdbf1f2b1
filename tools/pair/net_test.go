package pair

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

// newNet skips where there is no right to make one; the end-to-end tests fail there.
func newNet(t *testing.T) *Net {
	t.Helper()
	n, err := NewNet()
	if errors.Is(err, ErrNoNet) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// reaches says whether a packet gets there and back.
func reaches(t *testing.T, prefix []string, addr string) bool {
	t.Helper()
	words := append(prefix, "busybox", "ping", "-c", "1", "-W", "1", addr)
	err := exec.Command(words[0], words[1:]...).Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return err == nil
}

func TestLink(t *testing.T) {
	n := newNet(t)
	a, b := n.Side(A), n.Side(B)
	check := func(when string, link, wireA, wireB bool) {
		t.Helper()
		for _, c := range []struct {
			name string
			from []string
			to   string
			want bool
		}{
			{"a to b", a.Inside(), b.Addr, link},
			{"b to a", b.Inside(), a.Addr, link},
			{"a to the wire", a.Inside(), a.Wire, wireA},
			{"the wire to b", n.Wire(), b.Addr, wireB},
		} {
			if got := reaches(t, c.from, c.to); got != c.want {
				t.Errorf("%s: %s: %v, want %v", when, c.name, got, c.want)
			}
		}
	}
	check("at first", true, true, true)
	if err := n.Cut(); err != nil {
		t.Fatal(err)
	}
	check("cut", false, true, true)
	if err := n.Restore(); err != nil {
		t.Fatal(err)
	}
	check("restored", true, true, true)
	if err := n.Isolate(A); err != nil {
		t.Fatal(err)
	}
	check("a isolated", false, false, true)
	if err := n.Restore(); err != nil {
		t.Fatal(err)
	}
	if err := n.CutFrom(B); err != nil {
		t.Fatal(err)
	}
	// Neither ping comes back, since b's answer and b's question are lost alike.
	check("cut from b", false, true, true)
	if err := n.Restore(); err != nil {
		t.Fatal(err)
	}
	check("restored again", true, true, true)
}

func TestNothingIsLeft(t *testing.T) {
	n := newNet(t)
	dir, namespace := n.Side(A).Dir, "/run/netns/"+n.namespace(wire)
	n.Close()
	for _, path := range []string{dir, namespace} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
