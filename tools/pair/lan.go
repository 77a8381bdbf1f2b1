package pair

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// The guest's network: a bridge in a namespace of its own, to which each side's bridge leads, and to that
// the card of the side's machine. It has nothing to do with the link: cutting that changes nothing here.
const (
	lan          = "lan"
	lanAddr      = "198.51.100.1" // of whoever speaks with the guest (RFC 5737, too)
	GuestAddr    = "198.51.100.2"
	GuestNetdev  = "net0" // QEMU's id of what the guest's card is connected to
	cardHardware = "52:54:00:be:1a:01"
)

// AddLAN makes the guest's network, without a guest in it.
func (n *Net) AddLAN() error {
	if err := n.addNamespace(lan); err != nil {
		return err
	}
	n.hasLAN = true
	steps := [][]string{
		{lan, "link", "add", "hub", "type", "bridge"},
		{lan, "addr", "add", lanAddr + "/24", "dev", "hub"},
		{lan, "link", "set", "hub", "up"},
	}
	for _, id := range []ID{A, B} {
		name := id.String()
		steps = append(steps, [][]string{
			{name, "link", "add", "to-lan", "type", "veth", "peer", "name", "to-" + name, "netns", n.namespace(lan)},
			{name, "link", "add", "hub", "type", "bridge"},
			{name, "tuntap", "add", "dev", "card", "mode", "tap"},
			{name, "link", "set", "to-lan", "master", "hub"},
			{name, "link", "set", "card", "master", "hub"},
			{lan, "link", "set", "to-" + name, "master", "hub"},
			{lan, "link", "set", "to-" + name, "up"},
			{name, "link", "set", "to-lan", "up"},
			{name, "link", "set", "card", "up"},
			{name, "link", "set", "hub", "up"},
		}...)
	}
	for _, words := range steps {
		if err := n.ip(words[0], words[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// PlugCard connects a side's card with the guest's network, or takes it off that.
func (n *Net) PlugCard(id ID, on bool) error {
	words := []string{"link", "set", "card", "nomaster"}
	if on {
		words = []string{"link", "set", "card", "master", "hub"}
	}
	return n.ip(id.String(), words...)
}

// CardArgs are the arguments of a machine that has a card in the guest's network. Without headers of
// virtio-net's on the wire, and vhost, packets can be compared.
func CardArgs() []string {
	return []string{
		"-netdev", "tap,id=" + GuestNetdev + ",ifname=card,script=no,downscript=no,vhost=off,vnet_hdr=off",
		"-device", "virtio-net-pci,romfile=,guest_announce=off,netdev=" + GuestNetdev + ",mac=" + cardHardware,
	}
}

// CardUp is what the guest has to do so that it is reached. It does not send again what was not
// acknowledged within some milliseconds (tail loss probes): a secondary runs for a while before the
// primary does after a checkpoint, hears nothing meanwhile, and would say what the primary does not.
const CardUp = `echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; echo 0 >/proc/sys/net/ipv4/tcp_early_retrans
	ip addr add ` + GuestAddr + `/24 dev eth0; ip link set eth0 up`

// CallGuest connects to a TCP port of the guest, from outside.
func (n *Net) CallGuest(ctx context.Context, port int) (conn net.Conn, err error) {
	// A thread that ended in there would take along what it has started: machines die with the thread
	// that began them (Pdeathsig). So it comes back.
	runtime.LockOSThread()
	const own = "/proc/thread-self/ns/net"
	home, err := unix.Open(own, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("%s: %w", own, err)
	}
	defer unix.Close(home)
	defer func() {
		if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
			err = errors.Join(err, fmt.Errorf("leaving the guest's network: %w", back))
			return // nobody else may have the thread
		}
		runtime.UnlockOSThread()
	}()
	path := "/run/netns/" + n.namespace(lan)
	there, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(there)
	if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp4", net.JoinHostPort(GuestAddr, strconv.Itoa(port)))
}
