package mirror

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := template("authority")
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign
	raw, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, cert: cert, file: filepath.Join(t.TempDir(), "ca.pem")}
	writePEM(t, a.file, "CERTIFICATE", raw)
	return a
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
}

func writePEM(t *testing.T, path, kind string, raw []byte) {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// load makes a certificate for an address and loads it as the commands do.
func (a *authority) load(t *testing.T, host string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := template("host")
	tmpl.IPAddresses = []net.IP{net.ParseIP(host)}
	raw, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, certFile, "CERTIFICATE", raw)
	writePEM(t, keyFile, "PRIVATE KEY", private)
	config, err := LoadTLS(certFile, keyFile, a.file)
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
	if _, err := LoadTLS("none", "none", a.file); err == nil {
		t.Error("loaded nothing")
	}
	if _, err := LoadTLS(a.file, empty, a.file); err == nil {
		t.Error("loaded no key")
	}
}

func TestDialErrors(t *testing.T) {
	tr := &Transport{}
	if _, err := tr.Dial(context.Background(), "nowhere"); err == nil {
		t.Error("no port")
	}
}
