package guard

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// pause is between the starts of guards that do not stay.
const pause = time.Second

// Keeper keeps a guard at a process, and another one when that is gone. Its methods may be called from any
// goroutine; a nil Keeper guards nothing.
type Keeper struct {
	log  hclog.Logger
	path string // of the program

	mu      sync.Mutex
	bound   bool
	process *os.File      // pidfd of the newest one; nil: none
	pid     int           // its number
	over    chan struct{} // closed when another one is guarded, or none
	now     *post         // at the process; nil: none
	why     string        // there is none
	closed  bool
	work    sync.WaitGroup
}

// New makes a Keeper that guards nothing yet.
func New(log hclog.Logger) *Keeper { return &Keeper{log: log, path: program} }

// Watch has a process guarded, in the place of the one before. It returns when the guard is there, or
// cannot be; then Missing says why. A process that is guarded already keeps its guard.
//
// A process without a pidfd, which is not to be seen from here, cannot be guarded.
func (k *Keeper) Watch(pid int, process *os.File) {
	if k == nil {
		return
	}
	k.mu.Lock()
	// A number belongs to a process until its end.
	same := process != nil && k.process != nil && k.pid == pid && !ended(k.process)
	if same || k.closed {
		k.mu.Unlock()
		return
	}
	k.relieve()
	k.pid, k.process, k.over, k.why = pid, process, make(chan struct{}), ""
	over, settled := k.over, make(chan struct{})
	if process == nil {
		k.why = "its process is not to be seen from here"
		k.mu.Unlock()
		return
	}
	k.work.Go(func() { k.keep(pid, process, over, sync.OnceFunc(func() { close(settled) })) })
	k.mu.Unlock()
	<-settled
}

// relieve has the guard do what it was told last. The mutex is held.
func (k *Keeper) relieve() {
	if k.now != nil {
		k.now.leave()
		k.now = nil
	}
	if k.over != nil {
		close(k.over)
		k.over = nil
	}
}

// Bind says whether the process is to be ended when this one is gone. That is known to the guard when Bind
// returns, so it comes first: before anything is done that makes it necessary.
func (k *Keeper) Bind(bound bool) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.bound == bound {
		return
	}
	k.bound = bound
	if k.now != nil {
		_ = k.now.say(k.word()) // a guard that is gone is found so by keep
	}
}

// word is what the guard is to know. The mutex is held.
func (k *Keeper) word() word {
	if k.bound {
		return endIt
	}
	return leaveIt
}

// Missing says why there is no guard at the process; it is empty when there is one, or no process.
func (k *Keeper) Missing() string {
	if k == nil {
		return ""
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.why
}

// Close ends the guarding in order: a process that is bound is ended, any other one left. It returns when
// the guard is gone.
func (k *Keeper) Close() {
	if k == nil {
		return
	}
	k.mu.Lock()
	k.closed = true
	k.relieve()
	k.mu.Unlock()
	k.work.Wait()
}

// keep keeps a guard at a process until one of them is over. It says when the first attempt is settled.
func (k *Keeper) keep(pid int, process *os.File, over <-chan struct{}, settled func()) {
	defer settled()
	for {
		began := time.Now()
		err := k.guard(pid, process, over, settled)
		if ended(process) {
			err = nil
		}
		k.missing(over, err)
		if err == nil {
			return
		}
		settled()
		select {
		case <-over:
			return
		case <-time.After(pause - time.Since(began)):
		}
	}
}

// guard has one guard at the process, until that is over, and says how it ended.
func (k *Keeper) guard(pid int, process *os.File, over <-chan struct{}, settled func()) error {
	k.mu.Lock()
	first := k.word()
	k.mu.Unlock()
	p, err := newPost(k.path, pid, process, first)
	if err != nil {
		return fmt.Errorf("the guard cannot be started: %w", err)
	}
	k.mu.Lock()
	_ = p.say(k.word()) // it may have changed meanwhile
	if k.over == over {
		k.now, k.why = p, ""
		k.log.Debug("guarded", "process", pid, "guard", p.cmd.Process.Pid)
	} else {
		p.leave()
	}
	k.mu.Unlock()
	settled()
	_ = p.cmd.Wait() // its state says more
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now == p {
		k.now = nil
		p.leave()
	}
	return fmt.Errorf("the guard has ended: %v", p.cmd.ProcessState)
}

// missing notes that there is no guard, or with nil that none is needed any more, and tells people once.
func (k *Keeper) missing(over <-chan struct{}, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.over != over: // another process is guarded
	case err == nil:
		k.why = ""
	case err.Error() != k.why:
		k.why = err.Error()
		k.log.Warn("QEMU would go on if belay was killed now", "reason", k.why)
	}
}
