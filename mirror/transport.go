package mirror

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Transport makes connections: with TLS and certificates of both sides, or plain.
type Transport struct {
	// TLS is nil for plain TCP, which somebody must have asked for by name.
	TLS *tls.Config
	// Timeout bounds connecting, the TLS handshake, and how long sent bytes may stay without an
	// acknowledgement of the peer's kernel. Zero: DefaultTimeout.
	Timeout time.Duration
	// Connect connects to an address. Nil: by TCP.
	Connect func(ctx context.Context, address string) (net.Conn, error)
}

// LoadTLS reads a certificate, its key and the certificates of those who may sign the peer's. The same
// certificate serves whether this side calls or is called, because roles change: it needs the peer's
// name for --peer in its subject alternative names, and both usages if it limits them.
func LoadTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	pool, err := LoadAuthorities(caFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{own},
		RootCAs:      pool,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		MinVersion:   tls.VersionTLS13,
	}, nil
}

// LoadAuthorities reads the certificates of those who may sign others.
func LoadAuthorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("certificate authority: %s holds no certificate", file)
	}
	return pool, nil
}

func (t *Transport) timeout() time.Duration {
	if t.Timeout == 0 {
		return DefaultTimeout
	}
	return t.Timeout
}

// Dial connects to a peer. With TLS its certificate must be for the host of address.
func (t *Transport) Dial(ctx context.Context, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address of the peer: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout())
	defer cancel()
	connect := t.Connect
	if connect == nil {
		connect = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	c, err := connect(ctx, address)
	if err != nil {
		return nil, err
	}
	if err := t.tune(c); err != nil {
		c.Close()
		return nil, err
	}
	if t.TLS == nil {
		return c, nil
	}
	config := t.TLS.Clone()
	config.ServerName = host
	return t.secure(ctx, tls.Client(c, config))
}

// Accepted makes a connection that a listener accepted one that Open takes. It talks to the peer, so
// it does not belong into the accepting loop's goroutine.
func (t *Transport) Accepted(ctx context.Context, c net.Conn) (net.Conn, error) {
	if err := t.tune(c); err != nil {
		c.Close()
		return nil, err
	}
	if t.TLS == nil {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout())
	defer cancel()
	return t.secure(ctx, tls.Server(c, t.TLS))
}

func (t *Transport) secure(ctx context.Context, c *tls.Conn) (net.Conn, error) {
	if err := c.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, explain(fmt.Errorf("TLS: %w", err))
	}
	return c, nil
}

// tune lets the kernel give up what the peer's does not acknowledge.
func (t *Transport) tune(c net.Conn) error {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	ms := int(max(t.timeout()/time.Millisecond, 1))
	var setErr error
	err = raw.Control(func(fd uintptr) {
		setErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, ms)
	})
	return errors.Join(err, setErr)
}

// isCertificate says whether an error is about a certificate, this side's or the peer's. In TLS 1.3
// a client hears of the server's judgement with what it reads first, as an alert.
func isCertificate(err error) bool {
	var verification *tls.CertificateVerificationError
	var remote *net.OpError
	switch {
	case errors.Is(err, ErrCertificate):
		return false
	case errors.As(err, &verification):
		return true
	case errors.As(err, &remote) && remote.Op == "remote error":
		return strings.Contains(remote.Error(), "certificate")
	}
	return err != nil && strings.Contains(err.Error(), "tls: client didn't provide a certificate")
}

// isNetwork says whether an error is the connection's, and not our own judgement.
func isNetwork(err error) bool {
	var network *net.OpError
	return errors.As(err, &network) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe)
}
