package mirror

import (
	"net"
	"sync/atomic"
	"testing"
)

// gated is a connection that can be shut: writes then wait until it opens.
type gated struct {
	net.Conn
	shut atomic.Bool
	open chan struct{}
}

func (g *gated) Write(p []byte) (int, error) {
	if g.shut.Load() {
		<-g.open
	}
	return g.Conn.Write(p)
}

// tlsPair is a pair of connections with certificates of one authority.
func tlsPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	ca := newAuthority(t)
	tr := &Transport{TLS: ca.load(t, "127.0.0.1")}
	a, b, err := dialled(t, tr, tr)
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}
