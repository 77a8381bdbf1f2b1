package sim

import (
	"time"

	"github.com/belay-vm/belay/colo"
)

// parcel is a message between the two QEMUs.
type parcel struct {
	kind parcelKind
	mem  memory
}

type parcelKind int

const (
	parcelState parcelKind = iota + 1 // RAM and devices
	parcelReady
	parcelRequest
	parcelReply
	parcelReceived
	parcelLoaded
)

// qemu is one of the two. All that it does is done by one process, main; what its big lock keeps waiting
// waits because main is elsewhere.
type qemu struct {
	*world
	name    string
	main    *process
	backend *backend
	alive   bool

	mem      memory
	running  bool           // vCPUs
	started  [maxDisks]bool // vhost devices
	stopping bool           // one of them
	answers  map[colo.Ring]bool

	vhost  pipe // to the backend
	events pipe // of the monitor
	deaf   bool // the monitor is lost

	peer      *qemu
	wire      pipe // to the peer
	in        []parcel
	broken    bool // the migration's connection, as this side sees it
	ordered   bool // migrate was ordered
	heartbeat bool
	frozen    bool         // sends no more RAM
	trick     func() error // what the guest is about to do to its devices
	life      int          // counts the VM's starts
	ticks     int          // of the running guest
}

func (w *world) newQEMU(name string) *qemu {
	q := &qemu{world: w, name: name, alive: true, answers: map[colo.Ring]bool{}}
	q.vhost = pipe{clock: &w.clock, least: 5 * time.Microsecond, most: 60 * time.Microsecond}
	q.events = pipe{clock: &w.clock, least: 5 * time.Microsecond, most: 400 * time.Microsecond}
	q.wire = pipe{clock: &w.clock, least: 20 * time.Microsecond, most: 300 * time.Microsecond}
	return q
}

func (q *qemu) emit(e colo.Event) {
	if q.deaf {
		return
	}
	q.tracef("%s says %T%+v", q.name, e, e)
	b := q.backend
	q.events.send(func() { b.take(e) })
}

// die is kill -9.
func (q *qemu) die() {
	if !q.alive {
		return
	}
	q.tracef("%s dies", q.name)
	q.alive, q.running = false, false
	q.main.kill()
	q.unplug()
	b := q.backend
	q.events.send(func() { b.take(colo.QEMUGone{}) })
}

// unplug cuts the migration's connection; the peer notices unless the wire is cut.
func (q *qemu) unplug() {
	q.broken = true
	q.main.wake()
	p := q.peer
	q.wire.send(func() {
		p.broken = true
		p.main.wake()
	})
}

// await waits for a parcel. While it waits without the lock, the guest runs and may do anything.
func (q *qemu) await(kind parcelKind, locked bool) (memory, error) {
	var got memory
	arrived := func() bool {
		return q.broken || len(q.in) > 0 || !locked && q.trickDue()
	}
	for {
		if err := q.main.until(arrived); err != nil {
			return got, err
		}
		if len(q.in) > 0 && q.in[0].kind == kind {
			got = q.in[0].mem
			q.in = q.in[1:]
			return got, nil
		}
		if q.broken {
			return got, errBroken
		}
		if err := q.doTrick(); err != nil {
			return got, err
		}
	}
}

func (q *qemu) post(kind parcelKind) {
	m := parcel{kind: kind}
	if kind == parcelState {
		m.mem = q.mem
	}
	p := q.peer
	if q.broken {
		return
	}
	q.wire.send(func() {
		if p.alive && !p.broken {
			p.in = append(p.in, m)
			p.main.wake()
		}
	})
}

// sleep lets time pass; the guest runs if it runs.
func (q *qemu) sleep(d time.Duration, locked bool) error {
	end := q.now + d
	q.after(d, q.main.wake)
	for q.now < end {
		due := func() bool { return q.now >= end || q.broken && !locked || !locked && q.trickDue() }
		if err := q.main.until(due); err != nil {
			return err
		}
		if q.broken && !locked {
			return errBroken
		}
		if !locked {
			if err := q.doTrick(); err != nil {
				return err
			}
		}
	}
	return nil
}

// stopDisk asks the backend for each ring's base, and waits.
func (q *qemu) stopDisk(d int) error {
	q.stopping = true
	defer func() { q.stopping = false }()
	for i := range q.queues {
		r := colo.Ring{Disk: d, Queue: i}
		delete(q.answers, r)
		b := q.backend
		q.vhost.send(func() { b.take(colo.StopRequested{Ring: r}) })
		answered := func() bool { return q.answers[r] || b.dead }
		if err := q.main.until(answered); err != nil {
			return err
		}
	}
	q.started[d] = false
	return nil
}

func (q *qemu) startDisk(d int) {
	q.started[d] = true
	b := q.backend
	for i := range q.queues {
		r := colo.Ring{Disk: d, Queue: i}
		q.vhost.send(func() { b.started(r) })
	}
}

// vmStop sends STOP after the vhost replies.
func (q *qemu) vmStop() error {
	q.running = false
	for d := range q.disks {
		if q.started[d] {
			if err := q.stopDisk(d); err != nil {
				return err
			}
		}
	}
	q.emit(colo.Stop{})
	return nil
}

// vmStart sends RESUME before the vhost devices start.
func (q *qemu) vmStart() {
	q.emit(colo.Resume{})
	for d := range q.disks {
		if q.mem.ready[d] && !q.started[d] {
			q.startDisk(d)
		}
	}
	q.running = true
	q.life++
	q.tick(q.life)
}
