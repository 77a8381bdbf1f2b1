package preflight

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/belay-vm/belay/internal/pairview"
)

const certificate = "certificate"

// soon is when a certificate that runs out is worth a word.
const soon = 30 * 24 * time.Hour

// Certificate looks at this side's certificate as the peer will: it is shown in calls and to whoever calls,
// since roles change. host is the name or address by which the peer calls this side; empty if that is not
// known here.
func Certificate(c *tls.Config, host string) pairview.Finding {
	leaf, err := x509.ParseCertificate(c.Certificates[0].Certificate[0])
	if err != nil {
		return missing(certificate, err.Error(), "")
	}
	between := x509.NewCertPool()
	for _, der := range c.Certificates[0].Certificate[1:] {
		if more, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(more)
		}
	}
	now := time.Now()
	if now.After(leaf.NotAfter) {
		return missing(certificate, "it has run out, on "+day(leaf.NotAfter), "make a new one")
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := leaf.Verify(x509.VerifyOptions{
			Roots: c.RootCAs, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{use},
		})
		if err != nil {
			return missing(certificate, "the peer will not take it: "+err.Error(),
				"it must be signed by one of --tls-ca, for both uses, server and client")
		}
	}
	if err := forHost(leaf, host); err != nil {
		return missing(certificate, "the peer will not take it: "+err.Error(),
			"its subject alternative names must have what the peer's --peer says")
	}
	says := fmt.Sprintf("for %s, until %s", strings.Join(names(leaf), ", "), day(leaf.NotAfter))
	if leaf.NotAfter.Sub(now) < soon {
		return note(certificate, says, "make a new one soon: a pair with one that ran out cannot be made again")
	}
	return ok(certificate, says)
}

// forHost wants a name that the certificate is for, if it is known which.
func forHost(leaf *x509.Certificate, host string) error {
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if len(names(leaf)) == 0 {
			return fmt.Errorf("it is for no name")
		}
		return nil
	}
	return leaf.VerifyHostname(host)
}

func names(leaf *x509.Certificate) []string {
	list := leaf.DNSNames
	for _, ip := range leaf.IPAddresses {
		list = append(list, ip.String())
	}
	return list
}

func day(t time.Time) string { return t.Local().Format("2006-01-02") }
