package preflight

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/belay-vm/belay/internal/pairview"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/mirror/witness"
)

// Peer visits the peer that listens at an address, as the side that hello describes.
func Peer(ctx context.Context, t mirror.Transport, address string, hello mirror.Hello) pairview.Finding {
	const what = "peer"
	c, err := t.Dial(ctx, address)
	switch {
	case errors.Is(err, mirror.ErrCertificate):
		return missing(what, err.Error(), fitting(err))
	case err != nil:
		return missing(what, err.Error(),
			"start 'belay pair secondary' there, and see that the port can be reached")
	}
	peer, err := mirror.Ask(ctx, c, mirror.Config{Hello: hello, Timeout: t.Timeout})
	switch {
	case err != nil:
		return missing(what, err.Error(), fitting(err))
	case peer.Generation > hello.Generation && hello.Generation > 0:
		return missing(what, fmt.Sprintf("it is of generation %d, and this side of %d: it has served since",
			peer.Generation, hello.Generation), "start this side with 'belay pair secondary'")
	}
	return ok(what, fmt.Sprintf("%s is a side of %q, with disks of the same size, generation %d",
		address, peer.Name, peer.Generation))
}

// fitting is what to do about a peer that does not fit.
func fitting(err error) string {
	for _, row := range []struct {
		err error
		do  string
	}{
		{mirror.ErrNotMirror, "is it the port of belay, and TLS on both sides or on none?"},
		{mirror.ErrLost, "is it the port of belay, and TLS on both sides or on none?"},
		{mirror.ErrSilent, "is it the port of belay, and TLS on both sides or on none?"},
		{mirror.ErrVersion, "use the same version of belay on both sides"},
		{mirror.ErrWrongPeer, "--pair must be the same on both sides"},
		{mirror.ErrWrongVolume, "name the volumes of this machine, in the same order on both sides"},
		{mirror.ErrSize, "make the volumes of the same size"},
		{mirror.ErrCertificate, "certificates must be for the hosts' names, signed by the other side's --tls-ca"},
	} {
		if errors.Is(err, row.err) {
			return row.do
		}
	}
	return ""
}

// MigrateURI looks whether the address at which the secondary's QEMU awaits the guest can be one. Nobody
// calls there: QEMU would take that for the guest.
func MigrateURI(ctx context.Context, uri string) pairview.Finding {
	const what = "migrate-uri"
	address, tcp := strings.CutPrefix(uri, "tcp:")
	if !tcp {
		return note(what, uri+" is not tcp:HOST:PORT", "see that the secondary's QEMU can be reached by it")
	}
	host, port, err := net.SplitHostPort(address)
	if err == nil && (host == "" || port == "") {
		err = errors.New("want tcp:HOST:PORT")
	}
	if err != nil {
		return missing(what, fmt.Sprintf("%s: %v", uri, err),
			"give what the secondary's QEMU has after -incoming")
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", address) // sends nothing: it looks for the name and a route
	if err != nil {
		return missing(what, err.Error(), "see that the name is known here and that there is a route")
	}
	to := c.RemoteAddr().String()
	_ = c.Close() // nothing was said
	return ok(what, "there is a route to "+to+"; whether QEMU listens there only it can tell")
}

// Witness asks the etcd of a pair. Generation and self are this side's.
func Witness(ctx context.Context, w witness.Witness, primary bool, generation uint64,
	self string) pairview.Finding {
	const what = "witness"
	s, err := w.State(ctx)
	switch {
	case errors.Is(err, witness.ErrUnknownPair) && generation > 0:
		return note(what, "etcd answers, and does not know the pair",
			"was it set up anew? It will take this side's word")
	case errors.Is(err, witness.ErrUnknownPair):
		return ok(what, "etcd answers, and awaits a new pair")
	case err != nil:
		return missing(what, err.Error(), "see that etcd runs, and that --etcd and its certificates are right")
	case primary && s.Generation > generation && (s.Winner != self || s.Generation > generation+1):
		return missing(what, fmt.Sprintf("generation %d was won by the other side, and this one is of %d",
			s.Generation, generation), "start this side with 'belay pair secondary'")
	}
	return ok(what, fmt.Sprintf("etcd answers: generation %d", s.Generation))
}

// Listen looks whether an address can be listened at.
func Listen(address string) pairview.Finding {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return missing("listen", err.Error(), "give an address of this host and a free port")
	}
	_ = l.Close() // nobody came
	return ok("listen", address+" is free")
}
