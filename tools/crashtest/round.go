package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/belay-vm/belay/tools/daemon"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

const (
	volumeBytes = 256 << 20
	areaSectors = 32 << 20 / sectorSize // what is written; the more often, the smaller it is
	minRequests = 200                   // completed before a kill
	maxRequests = 4000
	guestMemory = 128 << 20
)

// loop is a run over many rounds.
type loop struct {
	o      options
	out    io.Writer
	target *target
	ledger *ledger
	rand   *rand.Rand

	server   *daemon.Daemon
	frontEnd *vhosttest.FrontEnd
	loads    []*load
	names    []string // checkpoints that were reported as taken
	total    int
	dirty    int // rounds that left requests in flight
}

func runLoop(o options, out io.Writer) error {
	t, err := newTarget(o)
	if err != nil {
		return err
	}
	l := &loop{o: o, out: out, target: t, ledger: newLedger(uint32(o.seed), areaSectors),
		rand: rand.New(rand.NewPCG(o.seed, 0))}
	err = l.rounds()
	err = errors.Join(err, l.close())
	if err != nil {
		return fmt.Errorf("%w\nthe volume is kept in %s", err, t.dir)
	}
	fmt.Fprintf(out, "%d rounds, %d requests, %d rounds with requests in flight at the kill, "+
		"%d checkpoints\n", o.rounds, l.total, l.dirty, len(l.names))
	return t.remove()
}

func (l *loop) rounds() (err error) {
	if l.server, err = l.target.serve(); err != nil {
		return err
	}
	if err := l.connect(); err != nil {
		return err
	}
	for n := range l.o.rounds {
		if err := l.round(n); err != nil {
			return fmt.Errorf("round %d: %w\nthe backend's log:\n%s", n, err, l.server.Log())
		}
		fmt.Fprintf(l.out, "round %d: %d requests so far\n", n, l.total)
	}
	return l.finish()
}

// finish ends the server as it should end, and has the volume verified.
func (l *loop) finish() error {
	if err := l.frontEnd.Stop(); err != nil {
		return err
	}
	if err := l.frontEnd.Close(); err != nil {
		return err
	}
	if err := l.server.Stop(); err != nil {
		return err
	}
	if l.target.belay == "" {
		return nil
	}
	_, err := l.target.verb("check", l.target.volume)
	return err
}

// close leaves no process behind.
func (l *loop) close() error {
	if l.server != nil {
		l.server.Kill()
	}
	if l.frontEnd != nil {
		return l.frontEnd.Close()
	}
	return nil
}

// connect makes a new front end with a load on each queue.
func (l *loop) connect() (err error) {
	l.frontEnd, err = vhosttest.Connect(l.target.socket, vhosttest.Options{
		Packed: l.o.packed, Queues: l.o.queues, QueueSize: 128, MemBytes: guestMemory,
		EventIdx: true, Indirect: l.rand.IntN(2) == 0, Inflight: true, Timeout: waitLimit,
	})
	if err != nil {
		return err
	}
	if l.o.packed && l.frontEnd.Acked()&vhosttest.FeaturePacked == 0 {
		return errors.New("the backend has no packed rings")
	}
	if err := l.frontEnd.Start(); err != nil {
		return err
	}
	l.loads = nil
	for i := range l.o.queues {
		load, err := newLoad(l.frontEnd.Queue(i), l.ledger, rand.New(rand.NewPCG(l.rand.Uint64(), 1)))
		if err != nil {
			return err
		}
		l.loads = append(l.loads, load)
	}
	return nil
}

func (l *loop) round(n int) error {
	if err := l.loadAndKill(n); err != nil {
		return err
	}
	if l.target.belay != "" && l.rand.IntN(4) == 0 { // as the killed process left it
		if _, err := l.target.verb("check", l.target.volume); err != nil {
			return err
		}
	}
	server, err := l.target.serve()
	if err != nil {
		return err
	}
	l.server = server
	if err := l.recover(); err != nil {
		return err
	}
	for _, name := range l.names {
		if err := l.target.hasCheckpoint(name); err != nil {
			return err
		}
	}
	return l.verify()
}

// loadAndKill works on all queues until some requests are done, then kills the server.
func (l *loop) loadAndKill(n int) error {
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex // guards left
		left     = minRequests + l.rand.IntN(maxRequests-minRequests)
		enough   = make(chan struct{})
		stop     = make(chan struct{})
		failures = make(chan error, len(l.loads))
	)
	progress := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		if left > 0 && left <= n {
			close(enough)
		}
		left -= n
	}
	for _, load := range l.loads {
		wg.Go(func() { failures <- load.run(stop, progress) })
	}
	taken := l.checkpoint(n, enough)
	var err error
	select {
	case <-enough:
	case err = <-failures: // a load ends before stop only when it fails
	case <-l.server.Exited():
		err = errors.New("the backend died by itself")
	case <-time.After(waitLimit):
		err = fmt.Errorf("the load made no progress in %v", waitLimit)
	}
	l.server.Kill()
	close(stop)
	wg.Wait()
	close(failures)
	for e := range failures {
		err = errors.Join(err, e)
	}
	return errors.Join(err, <-taken)
}

// checkpoint takes one in every second round, while the load goes on. It may come too late
// and find the server dead: then it promised nothing. The result arrives on the channel.
func (l *loop) checkpoint(n int, enough <-chan struct{}) <-chan error {
	result := make(chan error, 1)
	if l.target.belay == "" || n%2 == 0 {
		result <- nil
		return result
	}
	go func() {
		name := fmt.Sprintf("round-%d", n)
		_, err := l.target.verb("checkpoint", l.target.volume, "--name", name)
		if err == nil {
			l.names = append(l.names, name)
		}
		select {
		case <-enough:
		default:
			result <- err
			return
		}
		result <- nil
	}()
	return result
}

// recover brings the front end back: the same one, whose requests in flight must now be
// completed, or a new one that knows nothing of them.
func (l *loop) recover() error {
	inFlight := 0
	for _, load := range l.loads {
		inFlight += load.disk.InFlight()
		l.total += load.count
		load.count = 0
	}
	if inFlight > 0 {
		l.dirty++
	}
	if l.o.fresh || l.rand.IntN(3) == 0 {
		if err := l.frontEnd.Close(); err != nil {
			return err
		}
		l.ledger.releaseAll()
		return l.connect()
	}
	if err := l.frontEnd.Reconnect(l.target.socket); err != nil {
		return err
	}
	for i, load := range l.loads {
		if err := load.drain(); err != nil {
			return fmt.Errorf("queue %d: requests in flight at the kill: %w", i, err)
		}
	}
	return nil
}

// verify reads the whole area and compares it with the ledger.
func (l *loop) verify() error {
	p := make([]byte, maxSectors*sectorSize)
	for first := 0; first < areaSectors; first += maxSectors {
		p = p[:min(maxSectors, areaSectors-first)*sectorSize]
		if err := l.loads[0].disk.Read(uint64(first), p); err != nil {
			return err
		}
		if err := l.ledger.check(first, p); err != nil {
			return err
		}
	}
	return nil
}
