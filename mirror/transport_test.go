package mirror

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/belay-vm/belay/internal/certtest"
)

// authority signs certificates.
type authority struct{ *certtest.Authority }

func newAuthority(t *testing.T) *authority { return &authority{certtest.New(t)} }

// load makes a certificate for an address and loads it as the commands do.
func (a *authority) load(t *testing.T, host string) *tls.Config {
	t.Helper()
	cert, key := a.Make(host, nil)
	config, err := LoadTLS(cert, key, a.File)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// dialled connects two transports.
func dialled(t *testing.T, from, to *Transport) (a, b net.Conn, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			b, err = to.Accepted(context.Background(), c)
		}
		accepted <- err
	}()
	a, err = from.Dial(context.Background(), l.Addr().String())
	return a, b, errors.Join(err, <-accepted)
}

func TestCertificates(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	good := ours.load(t, "127.0.0.1")
	foreign := theirs.load(t, "127.0.0.1")
	trusting := foreign.Clone() // a stranger that would take us
	trusting.RootCAs = good.RootCAs
	anonymous := good.Clone()
	anonymous.Certificates = nil
	for _, c := range []struct {
		name     string
		from, to *tls.Config
	}{
		{"server of another authority", good, foreign},
		{"server of another host", good, ours.load(t, "127.0.0.2")},
		{"client of another authority", trusting, good},
		{"client without one", anonymous, good},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newPairing()
			a, b, err := dialled(t, &Transport{TLS: c.from}, &Transport{TLS: c.to})
			if !errors.Is(err, ErrCertificate) {
				t.Errorf("listening side: %v", err)
			}
			if a != nil { // in TLS 1.3 the calling side may hear of it later
				if _, err := Open(context.Background(), a, g.p); !errors.Is(err, ErrCertificate) {
					t.Errorf("calling side: %v", err)
				}
			}
			if b != nil {
				b.Close()
			}
		})
	}
}

func TestLoadTLSErrors(t *testing.T) {
	a := newAuthority(t)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadTLS("none", "none", a.File); err == nil {
		t.Error("loaded nothing")
	}
	if _, err := LoadTLS(a.File, empty, a.File); err == nil {
		t.Error("loaded no key")
	}
}

func TestDialErrors(t *testing.T) {
	tr := &Transport{}
	if _, err := tr.Dial(context.Background(), "nowhere"); err == nil {
		t.Error("no port")
	}
}
