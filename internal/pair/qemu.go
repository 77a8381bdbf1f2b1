package pair

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/internal/guard"
	"github.com/belay-vm/belay/internal/pairview"
	"github.com/belay-vm/belay/qmp"
)

// hypervisor is what a side needs of the QEMU beside it. What QEMU says comes back as events.
type hypervisor interface {
	follow(ctx context.Context, sockets qmp.Sockets) error
	look(ctx context.Context, secondary bool) []pairview.Finding
	follower(ctx context.Context, listen string) error
	migrate(ctx context.Context, delay time.Duration, uri, peer string) error
	compare(ctx context.Context) error
	leftColo(ctx context.Context) bool
	setBarrier(seq uint64)
	yank()
	lostHeartbeat(secondary bool)
	end(why string)
}

// qemu is the QEMU beside this side: its events in order, its commands, its life.
type qemu struct {
	watch *qmp.Watcher
	log   hclog.Logger
	post  func(colo.Event)
	guard *guard.Keeper // may be nil
	cards *cards

	open      func(pid int) *os.File // gives a pidfd; nil: the process is not to be seen from here
	connected func(*qmp.Client)      // called for each QEMU, before its events are given

	mu      sync.Mutex
	client  *qmp.Client // the last one; may have ended
	process *os.File    // pidfd, or nil
	barrier uint64      // the newest that was asked for
	asking  bool        // a goroutine sets barriers
	pending []uint64    // set and not passed, oldest first
}

func newQEMU(log hclog.Logger, guard *guard.Keeper, cards *cards, post func(colo.Event)) *qemu {
	return &qemu{log: log, guard: guard, cards: cards, post: post, open: openProcess}
}

// follow gives events until ctx ends. Its error says that the sockets cannot be QEMU's.
func (q *qemu) follow(ctx context.Context, sockets qmp.Sockets) error {
	w := qmp.Watch(ctx, sockets)
	q.watch = w
	for e := range w.Events() {
		q.take(e)
	}
	if ctx.Err() != nil {
		return nil
	}
	return w.Err()
}

func (q *qemu) take(e qmp.Event) {
	switch e.Name {
	case qmp.EventConnected:
		q.begin(e.Client)
	case qmp.EventLost:
		q.lost(e.Cause)
	case qmp.EventBarrier:
		q.passed()
	case qmp.EventStop:
		q.post(colo.Stop{})
	case qmp.EventResume:
		q.post(colo.Resume{})
	case qmp.EventColoExit:
		var d qmp.ColoExit
		_ = e.Decode(&d) // without a reason it is the same event
		q.post(colo.ColoExit{Reason: d.Reason})
	case qmp.EventShutdown:
		var d qmp.Shutdown
		_ = e.Decode(&d)
		q.post(colo.Shutdown{Reason: d.Reason})
	case qmp.EventReset:
		d := qmp.Reset{}
		err := e.Decode(&d)
		q.post(colo.Reset{Foreign: err == nil && !d.Guest})
	case "DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR", "MEMORY_DEVICE_SIZE_CHANGE":
		q.post(colo.Meddled{What: e.Name})
	}
	q.log.Debug("event", "name", e.Name, "data", string(e.Data))
}

// begin takes in a new QEMU.
func (q *qemu) begin(c *qmp.Client) {
	process := q.open(c.PID())
	if process == nil {
		q.log.Warn("QEMU's process is not to be seen from here: it cannot be ended", "pid", c.PID())
	}
	q.guard.Watch(c.PID(), process) // before anybody can want to follow this QEMU
	q.mu.Lock()
	q.client, q.process, q.pending = c, process, nil
	q.mu.Unlock()
	q.log.Info("QEMU is there", "pid", c.PID(), "version", c.Version().String(), "oob", c.OOB())
	q.connected(c)
}

// openProcess opens a process by its number, which is zero if it is of another name space.
func openProcess(pid int) *os.File {
	if pid == 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), "pidfd") // closed when nobody has it any more
}

// lost says whether only the monitor or QEMU itself is gone. A process that ends closes its sockets a
// little before.
func (q *qemu) lost(cause error) {
	q.mu.Lock()
	process := q.process
	q.mu.Unlock()
	if process != nil && !ended(process, 300*time.Millisecond) {
		q.post(colo.MonitorLost{Cause: fmt.Sprint(cause)})
		go func() {
			ended(process, -1)
			q.post(colo.QEMUGone{})
		}()
		return
	}
	q.log.Info("QEMU is gone", "cause", cause)
	q.post(colo.QEMUGone{})
}

// ended waits for a process's end; below zero: for ever.
func ended(process *os.File, limit time.Duration) bool {
	defer runtime.KeepAlive(process)
	fds := []unix.PollFd{{Fd: int32(process.Fd()), Events: unix.POLLIN}}
	ms := int(limit / time.Millisecond)
	if limit < 0 {
		ms = -1
	}
	for {
		n, err := unix.Poll(fds, ms)
		if err == unix.EINTR {
			continue
		}
		return n > 0 || err != nil
	}
}

func (q *qemu) current() (*qmp.Client, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.client == nil {
		return nil, qmp.ErrNoQEMU
	}
	return q.client, nil
}

// setBarrier has BarrierPassed given for this one and all before.
func (q *qemu) setBarrier(seq uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.barrier = seq
	if !q.asking {
		q.asking = true
		go q.setBarriers()
	}
}

// setBarriers sets one barrier for all that were asked for meanwhile, until there are no more.
func (q *qemu) setBarriers() {
	done := uint64(0)
	for {
		q.mu.Lock()
		seq, c := q.barrier, q.client
		if seq == done || c == nil {
			q.asking = false
			q.mu.Unlock()
			return
		}
		q.pending = append(q.pending, seq)
		q.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
		_, err := c.Barrier(ctx)
		cancel()
		if err != nil { // out of band there is always an answer: the events cannot be trusted
			q.log.Warn("barrier", "error", err)
			_ = c.Close()
		}
		done = seq
	}
}

// passed is the answer to the oldest barrier.
func (q *qemu) passed() {
	q.mu.Lock()
	if len(q.pending) == 0 {
		q.mu.Unlock()
		return
	}
	seq := q.pending[0]
	q.pending = q.pending[1:]
	q.mu.Unlock()
	q.post(colo.BarrierPassed{Seq: seq})
}

// commandTimeout bounds commands that QEMU answers at once, if it answers at all.
const commandTimeout = 5 * time.Second

// yank cuts the migration. It says that this is done when QEMU says so, or has ended.
func (q *qemu) yank() {
	for {
		c, err := q.current()
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
			err = c.YankMigration(ctx)
			q.cards.yank(ctx, c, cardBetween)
			cancel()
		}
		var refused *qmp.CommandError
		switch {
		case err == nil, errors.As(err, &refused), errors.Is(err, qmp.ErrNoQEMU):
		case c.Err() != nil: // MonitorLost or QEMUGone say the same
		default:
			q.log.Warn("yank", "error", err)
			continue
		}
		q.log.Info("the migration's connection is cut", "answer", fmt.Sprint(err))
		q.post(colo.Yanked{})
		return
	}
}

// lostHeartbeat tells QEMU to go on alone. A primary's packets are no longer compared then: before it, as
// QEMU's guide wants it. A secondary's go out from then on, and the network is told where they come from.
func (q *qemu) lostHeartbeat(secondary bool) {
	c, err := q.current()
	if err != nil {
		q.log.Info("x-colo-lost-heartbeat", "answer", fmt.Sprint(err))
		return
	}
	if !secondary {
		q.openCards(c)
	}
	ctx, cancel := context.WithTimeout(context.Background(), heartbeatTimeout)
	defer cancel()
	err = c.LostHeartbeat(ctx)
	q.log.Info("x-colo-lost-heartbeat", "answer", fmt.Sprint(err))
	if secondary {
		q.openCards(c)
	}
}

// openCards lets packets go straight, and tells the network.
func (q *qemu) openCards(c *qmp.Client) {
	if len(q.cards.list) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), heartbeatTimeout)
	defer cancel()
	err := q.cards.open(ctx, c)
	if err == nil {
		err = c.AnnounceSelf(ctx)
	}
	q.log.Info("packets go straight", "answer", fmt.Sprint(err))
}

// compare has the packets of cards compared from now on.
func (q *qemu) compare(ctx context.Context) error {
	if len(q.cards.list) == 0 {
		return nil
	}
	c, err := q.current()
	if err != nil {
		return err
	}
	return q.cards.compare(ctx, c)
}

// follower has QEMU know that the memory to come is COLO's, and await the primary's packets.
func (q *qemu) follower(ctx context.Context, listen string) error {
	c, err := q.current()
	if err == nil {
		err = c.SetCapabilities(ctx, qmp.Capability{Name: qmp.CapabilityColo, State: true})
	}
	if err != nil {
		return err
	}
	return q.cards.follow(ctx, c, listen)
}

// leftColo says whether QEMU is known not to be in COLO.
func (q *qemu) leftColo(ctx context.Context) bool {
	c, err := q.current()
	if err != nil {
		return false
	}
	st, err := c.QueryColo(ctx)
	return err == nil && st.Mode == qmp.ColoNone
}

// heartbeatTimeout is long: the command waits for QEMU's main loop.
const heartbeatTimeout = 15 * time.Second

// end ends the process. It has no say in that.
func (q *qemu) end(why string) {
	q.mu.Lock()
	process := q.process
	q.mu.Unlock()
	if process == nil {
		q.log.Info("there is no QEMU to be ended", "why", why)
		return
	}
	err := unix.PidfdSendSignal(int(process.Fd()), unix.SIGKILL, nil, 0)
	runtime.KeepAlive(process)
	q.log.Warn("QEMU is ended", "why", why, "answer", fmt.Sprint(err))
}
