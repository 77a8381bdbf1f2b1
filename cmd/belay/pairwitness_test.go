package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/belay-vm/belay/internal/certtest"
	"github.com/belay-vm/belay/mirror/witness"
	"github.com/belay-vm/belay/mirror/witness/witnesstest"
)

// TestEtcdCertificates asks an etcd that wants to see certificates, with and without the right ones.
func TestEtcdCertificates(t *testing.T) {
	ours, theirs := certtest.New(t), certtest.New(t)
	cert, key := ours.Make("127.0.0.1", nil)
	server := witnesstest.StartSecure(t, cert, key, ours.File)
	plain := strings.TrimPrefix(server.Endpoint, "https://")
	mine, secret := ours.Make("client", nil)
	foreign, other := theirs.Make("client", nil)
	for _, row := range []struct {
		name  string
		o     witnessOptions
		there bool
	}{
		{"certificate", witnessOptions{etcd: []string{server.Endpoint}, etcdCert: mine, etcdKey: secret,
			etcdCA: ours.File}, true},
		{"endpoint without a scheme", witnessOptions{etcd: []string{plain}, etcdCert: mine, etcdKey: secret,
			etcdCA: ours.File}, true},
		{"no certificate", witnessOptions{etcd: []string{server.Endpoint}, etcdCA: ours.File}, false},
		{"foreign certificate", witnessOptions{etcd: []string{server.Endpoint}, etcdCert: foreign, etcdKey: other,
			etcdCA: ours.File}, false},
		{"foreign etcd", witnessOptions{etcd: []string{server.Endpoint}, etcdCert: mine, etcdKey: secret,
			etcdCA: theirs.File}, false},
		{"no TLS", witnessOptions{etcd: []string{"http://" + plain}}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			timeout := 500 * time.Millisecond // of one that does not answer
			if row.there {
				timeout = time.Minute
			}
			w, err := row.o.openEtcd("a", "web", timeout)
			if err != nil {
				t.Fatal(err)
			}
			want := witness.ErrUnreachable
			if row.there {
				want = witness.ErrUnknownPair
			}
			if _, err := w.State(context.Background()); !errors.Is(err, want) {
				t.Errorf("%v, not %v", err, want)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	for name, o := range map[string]witnessOptions{
		"no such certificate": {etcdCert: "none", etcdKey: secret}, "no such authority": {etcdCA: "none"},
		"no authority in it": {etcdCA: secret},
	} {
		o.etcd = []string{server.Endpoint}
		if _, err := o.openEtcd("a", "web", time.Second); err == nil {
			t.Error(name)
		}
	}
}
