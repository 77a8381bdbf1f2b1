package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/internal/pair"
	"github.com/belay-vm/belay/internal/pairview"
	"github.com/belay-vm/belay/internal/preflight"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/qmp"
)

// checkTimeout bounds each question of a preflight.
const checkTimeout = 5 * time.Second

// checked is what a preflight tells.
type checked struct {
	OK       bool               `json:"ok"` // nothing is missing
	Findings []pairview.Finding `json:"findings"`
}

// pairCheck looks whether a side would have what it needs.
type pairCheck struct {
	o       *pairOptions
	dirs    []string
	sockets qmp.Sockets
	found   []pairview.Finding

	hello  mirror.Hello // as the side would say
	served bool         // by a belay that has QEMU's monitor
	self   string       // to the witness
}

func (c *pairCheck) add(f ...pairview.Finding) { c.found = append(c.found, f...) }

// finding is one that is met or not, as an error says.
func finding(what string, err error, says, do string) pairview.Finding {
	if err != nil {
		return pairview.Finding{What: what, Result: pairview.Missing, Says: err.Error(), Do: do}
	}
	return pairview.Finding{What: what, Result: pairview.OK, Says: says}
}

// checkPair prints what is there and what is missing. It changes nothing, and does not disturb a side
// that runs: that one has looked at its QEMU itself, and is asked what it saw.
func (a *app) checkPair(ctx context.Context, dir string, o pairOptions) error {
	sockets, err := qmp.ParseSockets(o.qmp)
	if err != nil {
		return err
	}
	c := &pairCheck{o: &o, dirs: []string{dir}, sockets: sockets}
	for _, d := range o.disks {
		more, _, _ := strings.Cut(d, "=")
		c.dirs = append(c.dirs, more)
	}
	c.volumes(ctx)
	c.qemu(ctx)
	c.transport(ctx)
	c.witness(ctx)
	lacks := preflight.Lacks(c.found)
	err = a.print(checked{len(lacks) == 0, c.found}, func(w io.Writer) {
		for _, f := range c.found {
			fmt.Fprintf(w, "%s\t%s\t%s\n", f.Result, f.What, strings.TrimPrefix(f.String(), f.What+": "))
		}
	})
	if err == nil && len(lacks) > 0 {
		err = about(dir, fmt.Errorf("%d of %d conditions are not met", len(lacks), len(c.found)))
	}
	return err
}

// volumes looks at all disks: through the process that serves them, or by themselves.
func (c *pairCheck) volumes(ctx context.Context) {
	client, err := control.Dial(c.dirs[0])
	if errors.Is(err, control.ErrNotServed) {
		c.stoppedVolumes()
		return
	}
	if err == nil {
		err = client.Close()
	}
	c.served = true
	c.hello = mirror.Hello{Name: c.o.name}
	for _, dir := range c.dirs {
		var st control.Status
		if err == nil {
			st, err = statusOf(ctx, dir)
		}
		if err == nil && st.Pair == nil {
			err = errors.New("a process serves it, and not as a side of a pair")
		}
		if err != nil {
			c.add(finding("volume", about(dir, err), "", "end the process that serves it"))
			return
		}
		disk := mirror.DiskHello{Size: st.Size}
		raw, _ := hex.DecodeString(st.UUID) // of our own making
		copy(disk.ID[:], raw)
		c.hello.Disks = append(c.hello.Disks, disk)
		c.hello.Generation = st.Pair.Generation
		c.add(finding("volume", nil, fmt.Sprintf("%s, %s, served as the %s: %s", dir, amount(st.Size), st.Pair.Role,
			st.Pair.State), ""))
		if dir == c.dirs[0] {
			c.self = st.UUID
			c.add(st.Pair.Checks...)
		}
	}
}

func statusOf(ctx context.Context, dir string) (st control.Status, err error) {
	client, err := control.Dial(dir)
	if err != nil {
		return st, err
	}
	st, err = client.Status(ctx)
	return st, errors.Join(err, client.Close())
}

func (c *pairCheck) stoppedVolumes() {
	role := checkpoint.RoleSecondary
	if c.o.primary {
		role = checkpoint.RolePrimary
	}
	var stores []*checkpoint.Store
	for _, dir := range c.dirs {
		s, err := checkpoint.Open(dir, checkpoint.Options{ReadOnly: true, Pair: true, LockWait: lockWait(dir)})
		if err != nil {
			c.add(finding("volume", about(dir, told(err)), "", "make it with 'belay create'"))
			continue
		}
		defer func() { _ = s.Close() }() // it was only read
		stores = append(stores, s)
		if c.self == "" {
			c.self = pair.Self(s)
		}
		says := fmt.Sprintf("%s, %s, of no pair yet", dir, amount(s.Size()))
		if st := pair.Stopped(s); st != nil {
			says = fmt.Sprintf("%s, %s, was the %s: generation %d, %s", dir, amount(s.Size()), st.Role, st.Generation,
				st.State)
		}
		c.add(finding("volume", nil, says, ""))
	}
	if len(stores) < len(c.dirs) {
		return
	}
	hello, err := pair.Visitor(stores, c.o.name, role)
	c.hello = hello
	c.add(finding("role", err, "it may be a "+role.String()+"'s", "see 'After a failure' in docs/COLO.md"))
}

// qemu looks at the monitor, unless another belay does.
func (c *pairCheck) qemu(ctx context.Context) {
	if c.served {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	c.add(preflight.Monitor(ctx, c.sockets, !c.o.primary)...)
}

// transport looks at the way to the peer.
func (c *pairCheck) transport(ctx context.Context) {
	t := mirror.Transport{Timeout: checkTimeout}
	if c.o.plaintext {
		c.add(pairview.Finding{What: "certificate", Result: pairview.Note,
			Says: "--plaintext: whoever listens can read and change what goes to the peer"})
	} else {
		var err error
		if t.TLS, err = mirror.LoadTLS(c.o.cert, c.o.key, c.o.ca); err != nil {
			c.add(finding("certificate", err, "", "see --tls-cert, --tls-key and --tls-ca"))
			return
		}
		host, _, _ := net.SplitHostPort(c.o.listen) // looked at before
		c.add(preflight.Certificate(t.TLS, host))
	}
	if !c.o.primary {
		if !c.served {
			c.add(preflight.Listen(c.o.listen))
		}
		return
	}
	if c.o.peer == "" {
		c.add(pairview.Finding{What: "peer", Result: pairview.Note,
			Says: "without --peer the guest is not protected", Do: "'belay reprotect' gives it a partner later"})
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*checkTimeout)
	defer cancel()
	if len(c.hello.Disks) == len(c.dirs) {
		c.add(preflight.Peer(ctx, t, c.o.peer, c.hello))
	}
	c.add(preflight.MigrateURI(ctx, c.o.migrateURI))
}

func (c *pairCheck) witness(ctx context.Context) {
	const what = "witness"
	if c.o.manual {
		c.add(finding(what, nil, "you: nothing takes over before you say 'belay failover'", ""))
		return
	}
	if c.self == "" {
		return // without a volume nobody would ask
	}
	w, err := c.o.openEtcd(c.self, c.o.name, checkTimeout)
	if err != nil {
		c.add(finding(what, err, "", "see --etcd and its certificates"))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	c.add(preflight.Witness(ctx, w, c.o.primary, c.hello.Generation, c.self))
	_ = w.Close() // it was only asked
}
