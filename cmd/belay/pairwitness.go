package main

import (
	"crypto/tls"
	"fmt"
	"time"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/internal/pair"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/mirror/witness"
	"github.com/spf13/pflag"
)

// witnessOptions say who decides who may serve.
type witnessOptions struct {
	etcd   []string
	manual bool

	etcdCert, etcdKey, etcdCA string
}

func (o *witnessOptions) flags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.etcd, "etcd", nil, "endpoints of the etcd that decides who may serve")
	f.BoolVar(&o.manual, "manual", false, "the operator decides who may serve, by 'belay failover'")
	f.StringVar(&o.etcdCert, "etcd-cert", "", "certificate that etcd wants to see, PEM")
	f.StringVar(&o.etcdKey, "etcd-key", "", "its key, PEM")
	f.StringVar(&o.etcdCA, "etcd-ca", "",
		"certificates of those who sign etcd's, PEM (default: with https:// endpoints, the system's)")
}

func (o *witnessOptions) checkWitness() error {
	secure := o.etcdCert != "" || o.etcdKey != "" || o.etcdCA != ""
	switch {
	case o.manual == (len(o.etcd) > 0):
		return usagef("one of --etcd and --manual is needed")
	case o.manual && secure:
		return usagef("--etcd-cert, --etcd-key and --etcd-ca belong to --etcd")
	case (o.etcdCert == "") != (o.etcdKey == ""):
		return usagef("--etcd-cert and --etcd-key belong together")
	}
	return nil
}

// etcdTLS is nil if nothing is to be known but what the endpoints say.
func (o *witnessOptions) etcdTLS() (*tls.Config, error) {
	if o.etcdCert == "" && o.etcdCA == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.etcdCert != "" {
		own, err := tls.LoadX509KeyPair(o.etcdCert, o.etcdKey)
		if err != nil {
			return nil, fmt.Errorf("certificate for etcd: %w", err)
		}
		c.Certificates = []tls.Certificate{own}
	}
	if o.etcdCA != "" {
		pool, err := mirror.LoadAuthorities(o.etcdCA)
		if err != nil {
			return nil, fmt.Errorf("etcd: %w", err)
		}
		c.RootCAs = pool
	}
	return c, nil
}

// openEtcd is the etcd as a side sees it.
func (o *witnessOptions) openEtcd(self, name string,
	timeout time.Duration) (witness.Witness, error) {
	secure, err := o.etcdTLS()
	if err != nil {
		return nil, err
	}
	return witness.NewEtcd(witness.EtcdConfig{
		Endpoints: o.etcd, TLS: secure, Pair: name, Self: self, Timeout: timeout,
	})
}

func (o *pairOptions) checkName() error {
	switch {
	case len(o.etcd) > 0 && o.name == "":
		return usagef("--etcd needs --pair")
	case len(o.name) > mostPairName:
		return usagef("--pair is at most %d bytes long", mostPairName)
	case o.alone && !o.manual:
		return usagef("--alone is for --manual: the etcd knows who serves")
	}
	if o.name == "" {
		o.name = "pair"
	}
	return nil
}

// witness is who decides. A side is known to it by its first volume.
func (o *pairOptions) witness(s *checkpoint.Store) (witness.Witness, error) {
	if o.manual {
		state, _ := s.Pair()
		return witness.NewManual(pair.Self(s), o.primary, state.Generation), nil
	}
	return o.openEtcd(pair.Self(s), o.name, 0)
}
