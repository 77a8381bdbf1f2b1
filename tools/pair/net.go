package pair

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrNoNet says that network namespaces cannot be made here.
var ErrNoNet = errors.New("no network namespaces: root rights and iproute2 are needed")

// ID names a side.
type ID int

// The sides. Which is primary changes with every failover.
const (
	A ID = iota
	B
)

// Other is the other side.
func (id ID) Other() ID { return B - id }

func (id ID) String() string { return string("ab"[id]) }

// wire is the name of the third namespace, and of nobody's side.
const wire = "wire"

// Addresses for documentation (RFC 5737), which are nobody's: each side has a network of its
// own with the wire, whose address is the next one.
var addresses = [...]struct{ side, wire string }{A: {"192.0.2.1", "192.0.2.2"}, B: {"192.0.2.5", "192.0.2.6"}}

// Net is two sides and the wire between them. Its methods may be called by one goroutine at a
// time.
type Net struct {
	name   string
	sides  [2]*Side
	hasLAN bool
}

// nets counts those of this process.
var nets atomic.Int64

// namePrefix begins the names of our namespaces; the owner's process id follows.
const namePrefix = "belay-"

// NewNet makes the namespaces, joined. Close removes them; what a killed test left is removed
// by the next NewNet on the machine.
func NewNet() (*Net, error) {
	removeStale()
	n := &Net{name: fmt.Sprintf("%s%d-%d", namePrefix, os.Getpid(), nets.Add(1))}
	if err := n.make(); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

func (n *Net) make() error {
	if err := n.addNamespace(wire); err != nil {
		return fmt.Errorf("%w: %w", ErrNoNet, err)
	}
	for _, id := range []ID{A, B} {
		if err := n.addSide(id); err != nil {
			return err
		}
	}
	return n.Restore()
}

func (n *Net) addNamespace(name string) error {
	if err := ip("netns", "add", n.namespace(name)); err != nil {
		return err
	}
	return n.ip(name, "link", "set", "lo", "up")
}

// addSide makes a namespace with one device, which leads to the wire.
func (n *Net) addSide(id ID) error {
	name, addr := id.String(), addresses[id]
	if err := n.addNamespace(name); err != nil {
		return err
	}
	dir := filepath.Join(os.TempDir(), n.namespace(name)) // short: a socket's path has 107 bytes
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	n.sides[id] = &Side{ID: id, Dir: dir, Addr: addr.side, Wire: addr.wire, namespace: n.namespace(name)}
	for _, words := range [][]string{
		{name, "link", "add", "to-wire", "type", "veth", "peer", "name", "to-" + name, "netns", n.namespace(wire)},
		{name, "addr", "add", addr.side + "/30", "dev", "to-wire"},
		{name, "link", "set", "to-wire", "up"},
		{wire, "addr", "add", addr.wire + "/30", "dev", "to-" + name},
		{wire, "link", "set", "to-" + name, "up"},
		{name, "route", "add", "default", "via", addr.wire},
	} {
		if err := n.ip(words[0], words[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// Side is one of the two.
func (n *Net) Side(id ID) *Side { return n.sides[id] }

// Wire is the prefix of a command that is to run between the sides, where both reach it
// whether the link is cut or not: at Side.Wire.
func (n *Net) Wire() []string { return inside(n.namespace(wire)) }

// Cut loses, from now on and without a word, whatever one side sends to the other.
func (n *Net) Cut() error { return errors.Join(n.CutFrom(A), n.CutFrom(B)) }

// CutFrom loses only what one side sends.
func (n *Net) CutFrom(id ID) error { return n.forward(id, false) }

// Restore undoes Cut, CutFrom and Isolate.
func (n *Net) Restore() error {
	for _, id := range []ID{A, B} {
		if err := n.ip(wire, "link", "set", "to-"+id.String(), "up"); err != nil {
			return err
		}
		if err := n.forward(id, true); err != nil {
			return err
		}
	}
	return nil
}

// Isolate takes a side off the wire: it reaches nothing, and sees that its carrier is gone.
func (n *Net) Isolate(id ID) error { return n.ip(wire, "link", "set", "to-"+id.String(), "down") }

// forward says what the wire does with what comes from a side. A host that does not forward drops
// what is not for itself and says nothing (Linux: ip_error).
func (n *Net) forward(id ID, on bool) error {
	value := "0"
	if on {
		value = "1"
	}
	const script = `echo "$1" >"/proc/sys/net/ipv4/conf/to-$2/forwarding"`
	return execute(append(n.Wire(), "sh", "-c", script, "sh", value, id.String()))
}

// Close removes the namespaces and directories. Processes in them have to be gone.
func (n *Net) Close() {
	for _, name := range []string{A.String(), B.String(), wire} {
		_ = ip("netns", "delete", n.namespace(name)) // it was not made, perhaps
	}
	if n.hasLAN {
		_ = ip("netns", "delete", n.namespace(lan))
	}
	for _, s := range n.sides {
		if s != nil {
			os.RemoveAll(s.Dir)
		}
	}
}

func (n *Net) namespace(name string) string { return n.name + "-" + name }

// ip configures one namespace.
func (n *Net) ip(name string, args ...string) error {
	return ip(append([]string{"-netns", n.namespace(name)}, args...)...)
}

func ip(args ...string) error {
	// Tools of the administrator are not on every user's PATH.
	path, err := exec.LookPath("ip")
	if err != nil {
		path = "/usr/sbin/ip"
	}
	return execute(append([]string{path}, args...))
}

func execute(words []string) error {
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// inside is the prefix of a command that is to run in a namespace. It becomes the command: the
// process started is the process wanted.
func inside(namespace string) []string {
	return []string{"nsenter", "--net=/run/netns/" + namespace, "--"}
}

// removeStale removes the namespaces, and directories, of processes that are gone.
func removeStale() {
	found, err := filepath.Glob("/run/netns/" + namePrefix + "*-*")
	if err != nil {
		return
	}
	for _, path := range found {
		name := filepath.Base(path)
		owner, _, _ := strings.Cut(strings.TrimPrefix(name, namePrefix), "-")
		pid, err := strconv.Atoi(owner)
		if err != nil {
			continue // not one of ours
		}
		if err := unix.Kill(pid, 0); errors.Is(err, unix.ESRCH) {
			_ = ip("netns", "delete", name) // somebody else was quicker, perhaps
			os.RemoveAll(filepath.Join(os.TempDir(), name))
		}
	}
}

// Side is a host.
type Side struct {
	ID   ID
	Dir  string // for sockets and small files; removed by Net.Close
	Addr string // this side's address
	Wire string // the address of whatever runs on the wire, as seen from this side

	namespace string
}

// Inside puts a command into the side's namespace.
func (s *Side) Inside(words ...string) []string { return append(inside(s.namespace), words...) }

// URI is where this side's QEMU can await a guest.
func (s *Side) URI(port int) string { return fmt.Sprintf("tcp:%s:%d", s.Addr, port) }

// Path is a file's in the side's directory.
func (s *Side) Path(name string) string { return filepath.Join(s.Dir, name) }

// clear removes a file that an earlier machine may have left.
func (s *Side) clear(name string) error {
	if err := os.Remove(s.Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
