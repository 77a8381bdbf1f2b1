// Package preflight says beforehand what a mirrored pair lacks: of the QEMU beside belay (qemu.go), of
// the certificates (tls.go), of the peer and the witness (peer.go). Each answer is a finding: what was looked
// at, how it is, and what to do about it. What cannot be told is said to be unknown, and is no fault.
//
// Nothing here changes anything. In particular nobody connects to the port at which the secondary's QEMU
// awaits the guest: it would take whoever comes for the primary.
package preflight

import "github.com/belay-vm/belay/internal/pairview"

func ok(what, says string) pairview.Finding {
	return pairview.Finding{What: what, Result: pairview.OK, Says: says}
}

func missing(what, says, do string) pairview.Finding {
	return pairview.Finding{What: what, Result: pairview.Missing, Says: says, Do: do}
}

func note(what, says, do string) pairview.Finding {
	return pairview.Finding{What: what, Result: pairview.Note, Says: says, Do: do}
}

func unknown(what string, err error) pairview.Finding {
	return pairview.Finding{What: what, Result: pairview.Unknown, Says: "cannot be told: " + err.Error()}
}

// Lacks are the findings without which the pair would fail.
func Lacks(all []pairview.Finding) []pairview.Finding {
	var list []pairview.Finding
	for _, f := range all {
		if f.Result == pairview.Missing {
			list = append(list, f)
		}
	}
	return list
}
