// Package certtest makes certificates for tests, in files, as the commands read them.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Authority signs certificates.
type Authority struct {
	File string // its own, PEM

	t    testing.TB
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	made int
}

// New makes an authority whose files go with the test.
func New(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t, dir: t.TempDir(), key: newKey(t)}
	tmpl := template("authority")
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign
	raw, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, a.key.Public(), a.key)
	must(t, err)
	a.cert, err = x509.ParseCertificate(raw)
	must(t, err)
	a.File = filepath.Join(a.dir, "ca.crt")
	a.write(a.File, "CERTIFICATE", raw)
	return a
}

// Make makes a certificate for a name or an address, good for an hour and both uses unless change says
// otherwise, and returns the files with it and its key.
func (a *Authority) Make(host string, change func(*x509.Certificate)) (cert, key string) {
	a.t.Helper()
	tmpl, private := template("host"), newKey(a.t)
	if ip := net.ParseIP(host); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else if host != "" {
		tmpl.DNSNames = []string{host}
	}
	if change != nil {
		change(tmpl)
	}
	raw, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, private.Public(), a.key)
	must(a.t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	must(a.t, err)
	a.made++
	name := filepath.Join(a.dir, strconv.Itoa(a.made))
	a.write(name+".crt", "CERTIFICATE", raw)
	a.write(name+".key", "PRIVATE KEY", secret)
	return name + ".crt", name + ".key"
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
}

func (a *Authority) write(path, kind string, raw []byte) {
	a.t.Helper()
	must(a.t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
