package sim

import (
	"errors"
	"time"

	"github.com/belay-vm/belay/colo"
)

// runPrimary is P.
func (q *qemu) runPrimary(p *process) {
	q.main = p
	q.vmStart()
	q.run()
}

// run is a guest that runs: a migration when it is ordered, checkpoints after it, and so on.
func (q *qemu) run() {
	for {
		for !q.ordered {
			if q.until(func() bool { return q.ordered || q.trickDue() }) != nil || q.doTrick() != nil {
				return
			}
		}
		if q.protect() != nil {
			return
		}
		q.ordered = false
	}
}

// protect is COLO from its start to its end. It fails when QEMU is killed.
func (q *qemu) protect() error {
	err := q.migrate()
	if errors.Is(err, errBroken) {
		q.broken = true
		q.unplug()
		q.emit(colo.MigrationFailed{Why: "broken"})
		if !q.running {
			q.vmStart()
		}
		return nil
	}
	if err == nil {
		_, err = q.await(parcelReady, false)
	}
	if err == nil {
		q.vmStart()
	}
	for err == nil {
		err = q.checkpoint()
	}
	if errors.Is(err, errKilled) {
		return err
	}
	return q.leave()
}

func (q *qemu) until(cond func() bool) error { return q.main.until(cond) }

// migrate copies RAM while the guest runs, stops it and sends the rest.
func (q *qemu) migrate() error {
	if err := q.sleep(q.between(time.Millisecond, 30*time.Millisecond), false); err != nil {
		return err
	}
	if err := q.vmStop(); err != nil {
		return err
	}
	return q.sendState()
}

func (q *qemu) sendState() error {
	if err := q.sleep(q.between(200*time.Microsecond, 8*time.Millisecond), false); err != nil {
		return err
	}
	for q.frozen {
		if err := q.until(func() bool { return !q.frozen || q.broken }); err != nil {
			return err
		}
		if q.broken {
			return errBroken
		}
	}
	q.mem.line++
	q.post(parcelState)
	return nil
}

func (q *qemu) checkpoint() error {
	if err := q.sleep(q.between(2*time.Millisecond, 25*time.Millisecond), false); err != nil {
		return err
	}
	q.post(parcelRequest)
	if _, err := q.await(parcelReply, false); err != nil {
		return err
	}
	if err := q.vmStop(); err != nil {
		return err
	}
	if err := q.sendState(); err != nil {
		return err
	}
	for _, kind := range []parcelKind{parcelReceived, parcelLoaded} {
		if _, err := q.await(kind, false); err != nil {
			return err
		}
	}
	q.told = q.mem.line
	q.checkpoints++
	q.vmStart()
	return nil
}

// leave is the end of COLO on either side: COLO_EXIT, then the wait for x-colo-lost-heartbeat, which stops
// the VM once more and starts it.
func (q *qemu) leave() error {
	stopped := !q.running
	q.broken = true
	q.unplug()
	q.emit(colo.ColoExit{Reason: "error"})
	for !q.heartbeat {
		if err := q.until(func() bool { return q.heartbeat || q.trickDue() }); err != nil {
			return err
		}
		if err := q.doTrick(); err != nil {
			return err
		}
	}
	if !stopped || q.running {
		if err := q.vmStop(); err != nil {
			return err
		}
	}
	q.vmStart()
	q.heartbeat = false
	return nil
}

// runSecondary is S.
func (q *qemu) runSecondary(p *process) {
	q.main = p
	mem, err := q.await(parcelState, true)
	if err != nil {
		if errors.Is(err, errBroken) {
			q.after(0, q.die) // an incoming migration that fails ends the process
		}
		return
	}
	q.mem = mem
	q.vmStart()
	q.post(parcelReady)
	for err == nil {
		err = q.follow()
	}
	if errors.Is(err, errKilled) || q.leave() != nil {
		return
	}
	q.run()
}

// follow is one checkpoint on S.
func (q *qemu) follow() error {
	if _, err := q.await(parcelRequest, false); err != nil {
		return err
	}
	if err := q.vmStop(); err != nil {
		return err
	}
	q.post(parcelReply)
	if q.fault == faultCont && q.chance(0.5) && q.allReady() {
		q.meddle()
	}
	mem, err := q.await(parcelState, true)
	if err != nil {
		return err
	}
	if q.running {
		// Somebody had said cont, and nobody had noticed, as no request was made since the last load.
		// What a machine is that is loaded while it runs, nobody can say; this one ends.
		q.after(0, q.die)
		return errKilled
	}
	if q.fault == faultLoadRAM && q.chance(0.5) {
		return errBroken
	}
	q.post(parcelReceived)
	// From here on nothing but a kill is noticed.
	window := q.between(50*time.Microsecond, 2*time.Millisecond)
	if q.chance(0.02) {
		window *= 8
	}
	if err := q.sleep(window, true); err != nil {
		return err
	}
	q.mem = mem // the cache is flushed
	if q.fault == faultLoadDevices && q.chance(0.5) && q.allReady() {
		return errBroken
	}
	q.vmStart()
	q.post(parcelLoaded)
	return nil
}

// allReady says whether the guest has started every device. Of a device that is not started there is no
// ring to look at, and then cont cannot be told from a load by anything: that is why nobody but belay
// may say it. Nor can a load be told that failed when the memory was overwritten already: if P is lost at
// that very moment, S goes on with P's memory and its own disk.
func (q *qemu) allReady() bool {
	for d := range q.disks {
		if !q.mem.ready[d] {
			return false
		}
	}
	return true
}

// meddle is an operator who says cont while S waits for P's memory.
func (q *qemu) meddle() {
	q.tracef("somebody says cont to %s", q.name)
	q.vmStart()
}
