package pair

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/blk"
	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/internal/bio"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/mirror/witness"
	"github.com/belay-vm/belay/qmp"
	"github.com/belay-vm/belay/vhostuser"
)

// limit is for what must not take for ever. No test waits for it: promises end when a test says so.
const limit = 50 * time.Second

// side is a belay and the QEMU beside it.
type side struct {
	t       *testing.T
	machine *machine
	volume  *volume
	disk    *fragile
	pair    *Pair
	net     *network // of a secondary
	ended   chan struct{}
	end     error // of the pair; read after ended
	leave   context.CancelFunc
	down    sync.Once
	log     *journal
}

// sideOptions are what differs between sides.
type sideOptions struct {
	secondary bool
	peer      *side
	witness   witness.Witness // nil: the operator
	salt      uint64
	wrong     bool // its QEMU was started as the other side's
}

// startSide runs a side on a volume, with a QEMU whose guest does not run yet.
func startSide(t *testing.T, dir string, o sideOptions) *side {
	t.Helper()
	s := &side{t: t, ended: make(chan struct{}), log: &journal{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("side %d:\n%s", o.salt, s.log.text())
		}
	})
	store, err := checkpoint.Open(dir, checkpoint.Options{Pair: true, MaxUnretired: 64})
	must(t, err)
	s.machine = newMachine(t)
	s.machine.waits = o.secondary != o.wrong
	s.disk = &fragile{Store: store}
	cfg := Config{
		Name: "test", Stores: []*checkpoint.Store{store},
		Sockets: qmp.Sockets{Link: s.machine.monitor.Path()}, Window: 4 << 20, MigrateURI: "tcp:127.0.0.1:1",
		Times: Times{HoldIdle: limit, HoldTotal: limit, Linger: 10 * time.Millisecond, Promise: limit,
			Silence: limit},
		Witness: o.witness, Log: hclog.New(&hclog.LoggerOptions{Output: s.log, Level: hclog.Debug}),
	}
	if cfg.Witness == nil {
		state, _ := store.Pair()
		cfg.Witness = witness.NewManual(dir, !o.secondary, state.Generation)
	}
	make := NewPrimary
	if o.secondary {
		make = NewSecondary
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		s.net = &network{Listener: l}
		cfg.Listener = s.net
	}
	if o.peer != nil {
		cfg.Peer = o.peer.net.Addr().String()
	}
	s.pair, err = make(cfg)
	must(t, err)
	s.volume = s.pair.volumes[0]
	s.serve(o.salt)
	return s
}

// serve makes what the front end talks to, and runs everything.
func (s *side) serve(salt uint64) {
	s.t.Helper()
	dev, err := blk.New(s.disk, blk.Options{Engine: aio.Threads, Depth: ringSize, Fence: s.pair.Fence(0)})
	must(s.t, err)
	attached := s.pair.Attach(0, dev)
	server := vhostuser.NewServer(attached, hclog.NewNullLogger(), vhostuser.Options{})
	socket := filepath.Join(s.t.TempDir(), "disk")
	l, err := net.Listen("unix", socket)
	must(s.t, err)
	q := s.pair.qemu.(*qemu) // what listens on the monitor's socket is this process
	q.open = func(int) *os.File { return s.machine.pidfd }
	ctx, leave := context.WithCancel(context.Background())
	serving, stop := context.WithCancel(context.Background())
	s.leave = leave
	var served sync.WaitGroup
	served.Go(func() {
		if err := server.Serve(serving, attached.Listener(l)); err != nil {
			s.t.Error(err)
		}
	})
	go func() {
		s.end = s.pair.Run(ctx)
		stop()
		served.Wait()
		if err := dev.Close(); err != nil {
			s.t.Error(err)
		}
		close(s.ended)
	}()
	s.t.Cleanup(s.close)
	s.machine.plug(socket, salt)
}

// close ends the side: its host fails, if it is not over yet.
func (s *side) close() {
	s.down.Do(func() {
		if s.net != nil {
			s.net.cut()
		}
		s.leave()
		s.machine.kill()
		<-s.ended
		must(s.t, s.volume.Close())
	})
}

func (s *side) await(state string) {
	s.t.Helper()
	until(s.t, "state "+state, func() bool { return s.pair.Status().State == state })
}

// expire ends what this side has promised.
func (s *side) expire() {
	s.pair.run(func() {
		if timer := s.pair.timers[colo.Promise]; timer != nil {
			timer.Reset(0)
		}
	})
}

// at reads the disk as it was at a mark.
func (s *side) at(m mirror.Mark) []byte {
	s.t.Helper()
	p := make([]byte, testSize)
	must(s.t, s.pair.reader.ReadMark(m, 0, p, 0))
	return p
}

func (s *side) check(when string) {
	s.t.Helper()
	s.machine.guest.quiet()
	if err := s.machine.guest.check(content(s.t, s.volume)); err != nil {
		s.t.Fatalf("%s: memory and disk: %v", when, err)
	}
}

// network is where a secondary listens, with a link that can be cut.
type network struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
	off   bool
}

func (n *network) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, c)
	if n.off {
		_ = c.Close()
	}
	return c, nil
}

func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.off = true
	for _, c := range n.conns {
		_ = c.Close()
	}
}

// fragile is a store whose writes can be made to fail.
type fragile struct {
	*checkpoint.Store
	broken atomic.Bool
}

func (f *fragile) NewLane(depth int, eng bio.Engine) (bio.Lane, error) {
	l, err := f.Store.NewLane(depth, eng)
	return &fragileLane{Lane: l, broken: &f.broken}, err
}

type fragileLane struct {
	bio.Lane
	broken *atomic.Bool
	failed []*bio.Request
}

func (l *fragileLane) Submit(r *bio.Request) {
	if r.Op == bio.Write && l.broken.Load() {
		r.Err = unix.EIO
		l.failed = append(l.failed, r)
		return
	}
	l.Lane.Submit(r)
}

func (l *fragileLane) Settle(done []*bio.Request) []*bio.Request {
	done = append(l.Lane.Settle(done), l.failed...)
	l.failed = nil
	return done
}

func (l *fragileLane) InFlight() int { return l.Lane.InFlight() + len(l.failed) }

// journal keeps what is logged, also after the test.
type journal struct {
	mu   sync.Mutex
	kept bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.kept.Write(p)
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.kept.String()
}
