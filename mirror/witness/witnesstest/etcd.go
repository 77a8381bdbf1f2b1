// Package witnesstest runs an etcd for tests: one member, in this process, in a directory that goes
// with the test.
package witnesstest

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
)

// Server is a running etcd.
type Server struct {
	t        testing.TB
	dir      string
	etcd     *embed.Etcd
	Endpoint string // of its clients

	secure transport.TLSInfo // of its clients; empty: none
}

// Start runs an etcd until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), Endpoint: "http://127.0.0.1:0"}
	s.Restart()
	t.Cleanup(s.Stop)
	return s
}

// StartSecure runs one that speaks TLS with the certificate in these files, to clients that have one
// signed by the authority in ca.
func StartSecure(t testing.TB, cert, key, ca string) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), Endpoint: "https://127.0.0.1:0", secure: transport.TLSInfo{
		CertFile: cert, KeyFile: key, TrustedCAFile: ca, ClientCertAuth: true,
	}}
	s.Restart()
	t.Cleanup(s.Stop)
	return s
}

// Stop ends it; what it knows stays.
func (s *Server) Stop() {
	if s.etcd != nil {
		s.etcd.Close()
		s.etcd = nil
	}
}

// Restart runs it again, at the same address.
func (s *Server) Restart() {
	s.t.Helper()
	if err := s.run(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) run() error {
	clients, err := url.Parse(s.Endpoint)
	if err != nil {
		return err
	}
	peers := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	c := embed.NewConfig()
	c.Dir, c.LogLevel, c.LogOutputs = s.dir, "panic", []string{"/dev/null"}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{*clients}, []url.URL{*clients}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peers}, []url.URL{peers}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.ClientTLSInfo = s.secure
	c.TickMs, c.ElectionMs = 10, 100 // a lease may then be a second
	if s.etcd, err = embed.StartEtcd(c); err != nil {
		return err
	}
	s.Endpoint = clients.Scheme + "://" + s.etcd.Clients[0].Addr().String()
	select {
	case <-s.etcd.Server.ReadyNotify():
		return nil
	case <-time.After(time.Minute):
		return fmt.Errorf("etcd is not ready")
	}
}
