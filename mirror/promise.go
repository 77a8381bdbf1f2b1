package mirror

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Clock tells the time since some moment, including time in which the host was suspended: a
// promise must not be kept longer because the host slept.
type Clock func() time.Duration

// BootClock is CLOCK_BOOTTIME.
func BootClock() time.Duration {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	invariant(err == nil, "no CLOCK_BOOTTIME")
	return time.Duration(t.Nano())
}

// maxPromise bounds what a primary may ask for, and so the time for which a secondary can be kept
// from taking over.
const maxPromise = time.Minute

// Promise is the secondary's side of the lease: its word not to take over before a time. It outlives
// sessions: what was promised in one holds after it ended.
type Promise struct {
	clock Clock

	mu     sync.Mutex
	until  time.Duration
	broken bool
}

// NewPromise returns a promise of nothing. Who was not there all the time (it has just been started)
// may have promised something before: extend it by the longest time that was ever asked for.
func NewPromise(clock Clock) *Promise { return &Promise{clock: clock} }

// Extend promises for another d from now, unless a takeover has begun; then it returns false, and
// nothing may be answered. The time counts from now, which is later than when the primary asked, so
// the primary's lease ends first.
func (p *Promise) Extend(d time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken {
		return false
	}
	p.until = max(p.until, p.clock()+d)
	return true
}

// Stop ends promising, for a takeover, and returns how long what was promised still holds: only
// after that may the witness be asked. Once it returned, no session acknowledges anything.
func (p *Promise) Stop() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = true
	return max(0, p.until-p.clock())
}

// Allow lets promises be made again, after a takeover that did not come to be.
func (p *Promise) Allow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = false
}

// Lease is the primary's side: until when nobody else serves.
type Lease struct {
	clock Clock

	mu    sync.Mutex
	until time.Duration
}

// NewLease returns a lease that is over.
func NewLease(clock Clock) *Lease { return &Lease{clock: clock} }

// Now is the clock's time, to be taken before a renewal is sent.
func (l *Lease) Now() time.Duration { return l.clock() }

// Renewed counts d from when the renewal was sent. An answer that is overtaken changes nothing.
func (l *Lease) Renewed(sent, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = max(l.until, sent+d)
}

// Left is how long the lease still holds; nothing may be served when it is not above zero.
func (l *Lease) Left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until - l.clock()
}
