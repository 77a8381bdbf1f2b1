package sim

import (
	"strings"
	"time"

	"github.com/belay-vm/belay/colo"
)

// fault is something that goes wrong.
type fault int

const (
	faultNone fault = iota
	faultHostP
	faultBackP
	faultQEMUP
	faultHostS
	faultBackS
	faultQEMUS
	faultMirror   // only the mirror's link is cut
	faultLinks    // and QEMU's too; both sides see the witness
	faultIsolateP // p and P are alone
	faultIsolateS
	faultWitness     // nobody sees the witness
	faultBlind       // nor do p and s see each other
	faultSlow        // the mirror's link slows down
	faultFrozen      // P sends no more RAM, then its host dies
	faultCont        // somebody says cont to S while it waits for a load
	faultLoadRAM     // S cannot load RAM
	faultLoadDevices // S cannot load devices, and RAM is overwritten
	faultMonitorS    // s misses events
	faultDiskP       // p's disk fails
	faultShutdown    // the guest ends
	faultOperator    // the operator gives s up
	faultMirrorP     // p sees neither s nor the witness; the QEMUs see each other
	faultPauseP      // p is not scheduled for a while
	faultPauseS
	faultMirrorBackP // the mirror's link is cut, and p dies before it has given s up
	faultSuspendP    // p's host sleeps for a while: its clock goes on
	faults
)

// Faults that only real disks have: those of every host, in the middle of what it does to its disk, and all
// at once.
const (
	faultDuringP fault = iota + faults // p dies at one of the next operations of its disk
	faultDuringS
	faultPowerP // the same, with its host
	faultPowerS
	faultDiskS     // an operation of s's disk fails
	faultGarble    // a bit is turned over on the link
	faultPowerBoth // both hosts, one after the other, and the survivors are started anew
	realFaults
)

var faultNames = [...]string{
	"none", "host P", "backend p", "QEMU P", "host S", "backend s", "QEMU S", "mirror link", "both links",
	"P isolated", "S isolated", "witness", "witness and links", "slow mirror", "frozen transfer", "cont on S",
	"load of RAM", "load of devices", "monitor of S", "disk of p", "shutdown", "operator",
	"mirror and witness of p", "pause of p", "pause of s", "mirror link, backend p", "suspend of host P",
	"backend p in its disk", "backend s in its disk", "host P in its disk", "host S in its disk",
	"disk of s", "bit on the link", "both hosts",
}

func (w *world) faults() string {
	names := []string{faultNames[w.fault]}
	if w.second != faultNone {
		names = append(names, faultNames[w.second])
	}
	return strings.Join(names, ", ")
}

// strike lets one thing go wrong, sometimes two.
func (w *world) strike() {
	w.fault = w.pick()
	if w.p.side.State().Protected {
		w.protectedAt = w.now
	} else if w.now-w.born > startTime && !w.disturbed {
		w.failf("the pair fell apart without a fault: %v, %v", w.p, w.s)
	}
	if w.chance(0.3) {
		w.second = w.pick()
		second, number := w.second, w.pairs
		w.after(w.between(0, 100*time.Millisecond), func() {
			if w.pairs == number {
				w.happen(second)
			}
		})
	}
	w.happen(w.fault)
}

// pick draws a fault out of those that are wanted.
func (w *world) pick() fault {
	if len(w.only) > 0 {
		return w.only[w.rng.IntN(len(w.only))]
	}
	if w.sides == nil {
		return fault(w.rng.IntN(int(faults)))
	}
	for {
		f := fault(w.rng.IntN(int(realFaults)))
		if f != faultPauseP && f != faultPauseS { // goroutines cannot be kept from running
			return f
		}
	}
}

func (w *world) happen(f fault) {
	w.tracef("FAULT: %s", faultNames[f])
	if f >= faults {
		w.happenToDisks(f)
		return
	}
	switch f {
	case faultHostP:
		w.host(w.p)
	case faultBackP:
		w.p.mirror.cut = w.chance(0.5) // the reset overtakes what was sent
		w.p.die()
		w.after(w.between(0, 150*time.Millisecond), w.p.qemu.die) // if its guard did not
	case faultQEMUP:
		w.p.qemu.die()
	case faultHostS:
		w.host(w.s)
	case faultBackS:
		w.s.die()
	case faultQEMUS:
		w.s.qemu.die()
	case faultMirror, faultLinks, faultIsolateP, faultIsolateS, faultBlind, faultMirrorP:
		w.partition(f)
	case faultWitness:
		w.p.witness, w.s.witness = false, false
	case faultSlow:
		w.slowness = w.between(0, 60*time.Millisecond)
		w.p.mirror.slow, w.s.mirror.slow = w.slowness, w.slowness
	case faultFrozen:
		w.p.qemu.frozen = true
		w.after(w.between(0, 40*time.Millisecond), func() { w.host(w.p) })
	case faultMonitorS:
		w.s.qemu.deaf = true
		w.after(w.between(0, 2*time.Millisecond), func() { w.s.take(colo.MonitorLost{Cause: "a fault"}) })
	case faultDiskP:
		w.p.fails = true
		w.p.take(colo.WriteFailed{})
	case faultShutdown:
		w.shutdown()
	case faultOperator:
		w.p.take(colo.Failover{})
	case faultPauseP:
		w.pause(w.p)
	case faultPauseS:
		w.pause(w.s)
	case faultSuspendP:
		w.p.boot.jump.Add(int64(w.between(0, 2*promiseTime)))
	case faultMirrorBackP:
		w.partition(faultMirror)
		w.after(w.between(0, 15*time.Millisecond), func() { w.happen(faultBackP) })
	}
}

// happenToDisks is for faults that only real disks and links have.
func (w *world) happenToDisks(f fault) {
	switch f {
	case faultDuringP, faultDuringS, faultPowerP, faultPowerS:
		b := w.p
		if f == faultDuringS || f == faultPowerS {
			b = w.s
		}
		if s, ok := b.side.(interface{ DieDuring(op int, power bool) }); ok && !b.dead {
			s.DieDuring(1+w.rng.IntN(60), f >= faultPowerP)
		}
	case faultDiskS:
		if s, ok := w.s.side.(interface{ FailDuring(op int) }); ok && !w.s.dead {
			s.FailDuring(1 + w.rng.IntN(30))
		}
	case faultGarble:
		if s, ok := w.p.side.(interface{ Garble() }); ok {
			s.Garble()
		}
	case faultPowerBoth:
		first, second := w.p, w.s
		if w.chance(0.5) {
			first, second = second, first
		}
		w.host(first)
		w.after(w.between(0, 150*time.Millisecond), func() { w.host(second) })
	}
}

// pause is a process that is not scheduled; if that takes long its peer calls it lost.
func (w *world) pause(b *backend) {
	long := w.between(time.Millisecond, 200*time.Millisecond)
	b.paused = w.now + long
	if long > 40*time.Millisecond {
		w.after(40*time.Millisecond, func() { b.peer.lose("keepalive") })
		w.after(41*time.Millisecond, func() { b.lose("connection reset") })
	}
}

// host is a power cut: nobody closes connections.
func (w *world) host(b *backend) {
	w.tracef("host of %s dies", b.name)
	w.counts["power cuts"]++
	if !b.dead {
		b.side.Die(true)
	}
	w.unheard(b)
}

// died is the end of a side that nobody foresaw.
func (w *world) died(b *backend, power bool) {
	switch {
	case b.dead:
	case power:
		w.tracef("host of %s dies in the middle of something", b.name)
		w.counts["power cuts in the middle of a disk's operations"]++
		w.unheard(b)
	default:
		w.tracef("%s is gone", b.name)
		w.counts["processes that ended, or died in the middle of a disk's operations"]++
		b.gone()
		w.after(w.between(0, 150*time.Millisecond), b.qemu.die)
	}
}

// unheard is what others see, or rather do not, of a host that is off.
func (w *world) unheard(b *backend) {
	b.dead, b.power, b.mirror.cut, b.qemu.wire.cut = true, true, true, true
	b.qemu.die()
	w.after(w.between(5*time.Millisecond, 40*time.Millisecond), func() { b.peer.lose("keepalive") })
	q := b.qemu.peer
	w.after(w.between(5*time.Millisecond, 60*time.Millisecond), func() {
		q.broken = true
		q.main.wake()
	})
}

func (w *world) partition(f fault) {
	for _, b := range []*backend{w.p, w.s} {
		b.mirror.cut = true
		w.after(w.between(time.Millisecond, 40*time.Millisecond), func() { b.lose("keepalive") })
	}
	if f == faultMirror || f == faultMirrorP {
		w.p.witness = w.p.witness && f == faultMirror
		return
	}
	for _, q := range []*qemu{w.p.qemu, w.s.qemu} {
		q.wire.cut = true
	}
	w.p.witness = w.p.witness && f != faultIsolateP && f != faultBlind
	w.s.witness = w.s.witness && f != faultIsolateS && f != faultBlind
}

// shutdown is a clean end: SHUTDOWN, then QEMU stops its VM and goes.
func (w *world) shutdown() {
	q := w.p.qemu
	if !q.alive || w.p.dead {
		return
	}
	q.emit(colo.Shutdown{Reason: "guest-shutdown"})
	if w.chance(0.5) {
		w.after(w.between(10*time.Microsecond, 2*time.Millisecond), q.unplug)
	}
	w.after(w.between(time.Millisecond, 5*time.Millisecond), q.die)
	if w.chance(0.3) {
		w.after(w.between(2*time.Millisecond, 10*time.Millisecond), func() { w.host(w.p) })
		return
	}
	w.ended = w.fault == faultShutdown && w.second == faultNone
}

// expect says who must serve after a single fault in a pair that was protected.
func (w *world) expect(end string) {
	if w.second != faultNone || w.protectedAt == 0 {
		return
	}
	var must string
	switch w.fault {
	case faultHostS, faultBackS, faultQEMUS, faultIsolateS, faultMonitorS, faultLoadRAM,
		faultLoadDevices, faultOperator, faultNone, faultWitness, faultSlow, faultCont,
		faultDiskS:
		must = "p"
	case faultHostP, faultQEMUP, faultIsolateP, faultFrozen, faultDiskP, faultMirrorP:
		must = "s"
	case faultBlind:
		must = "nobody"
	case faultLinks, faultMirror, faultPauseP, faultPauseS, faultGarble:
		must = "one"
	}
	if must != "" && must != end && (must != "one" || end == "nobody") {
		w.failf("%s must serve, but %s does: %v, %v", must, end, w.p, w.s)
	}
	b := map[string]*backend{"p": w.p, "s": w.s}[end]
	if b != nil && b.served == 0 && (b.qemu.ticks == 0 || b.qemu.wants()) {
		w.failf("%s serves, but its guest waits: %v", end, b)
	}
}

// wants says whether the guest waits for a request.
func (q *qemu) wants() bool {
	for d := range q.disks {
		if q.mem.ready[d] && !q.idle(d) {
			return true
		}
	}
	return false
}
