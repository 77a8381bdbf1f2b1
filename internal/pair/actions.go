package pair

import (
	"fmt"
	"math"
	"time"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/colo"
)

// do carries an action out, or begins it.
func (p *Pair) do(a colo.Action) {
	if p.doRings(a) || p.doQEMU(a) || p.doPeer(a) {
		return
	}
	switch a := a.(type) {
	case colo.Load:
		p.load(a.Epoch)
	case colo.KeepOwn:
		p.log.Info("the secondary's own writes stay")
	case colo.Promote:
		p.work.Go(p.promote)
	case colo.Poison:
		p.poison(a.Why)
	case colo.AskWitness:
		p.ask(a.Claim)
	case colo.Forgo:
		p.forgo()
	case colo.StartTimer:
		p.startTimer(a.Timer, a.Seq)
	case colo.StopTimer:
		if t := p.timers[a.Timer]; t != nil {
			t.Stop()
		}
	case colo.Refuse:
		p.log.Warn("refused", "why", a.Why)
		p.status.refused(a.Why)
	default:
		p.log.Error("an action that nobody does", "action", fmt.Sprintf("%T", a))
	}
}

// doRings carries out what concerns the front ends.
func (p *Pair) doRings(a colo.Action) bool {
	switch a := a.(type) {
	case colo.Drain:
		p.disks[a.Ring.Disk].drain(a.Ring.Queue)
	case colo.DrainAll:
		p.status.began(time.Now())
		p.work.Go(p.drainAll)
	case colo.AnswerStop:
		p.disks[a.Ring.Disk].answer(a.Ring.Queue)
	case colo.Release:
		p.status.started(time.Now())
		p.disks[a.Ring.Disk].release(a.Ring.Queue)
	case colo.StopServing:
		p.fence.stop()
	case colo.ServeUntil:
		p.fence.serveUntil(a.Until)
	case colo.PassErrors:
		p.fence.passErrors(a.Disk)
	default:
		return false
	}
	return true
}

// drainAll stills all disks.
func (p *Pair) drainAll() {
	all := colo.Digests{}
	for i, d := range p.disks {
		digests, err := d.still()
		if err != nil {
			p.log.Error("a ring cannot be read", "disk", i, "error", err)
			continue // it is broken, and its guest has lost it; its digest is not compared
		}
		for r, digest := range digests {
			all[r] = digest
		}
	}
	p.post(colo.Quiesced{Digests: all})
}

// doQEMU carries out what concerns QEMU.
func (p *Pair) doQEMU(a colo.Action) bool {
	switch a := a.(type) {
	case colo.Barrier:
		p.qemu.setBarrier(a.Seq)
	case colo.Yank:
		go p.qemu.yank()
	case colo.LostHeartbeat:
		go p.qemu.lostHeartbeat(p.secondary)
	case colo.StartColo:
		p.work.Go(p.startColo)
	case colo.EndQEMU:
		p.qemu.end(a.Why)
	default:
		return false
	}
	return true
}

// startTimer starts a timer of the machine.
func (p *Pair) startTimer(t colo.Timer, seq uint64) {
	if old := p.timers[t]; old != nil {
		old.Stop()
	}
	times := p.cfg.Times
	d := map[colo.Timer]time.Duration{
		colo.HoldIdle: times.HoldIdle, colo.HoldTotal: times.HoldTotal, colo.Linger: times.Linger,
		colo.Promise: max(times.Promise, p.promised) + times.Skew,
	}[t]
	p.timers[t] = time.AfterFunc(d, func() { p.post(colo.Expired{Timer: t, Seq: seq}) })
}

// load makes an epoch current.
func (p *Pair) load(e colo.Epoch) {
	first := p.s.Phase() == colo.SecondaryWaiting
	p.work.Go(func() {
		began := time.Now()
		err := p.sink.load(uint64(e))
		if err == nil && first {
			err = p.fit()
		}
		if err != nil {
			p.log.Error("an epoch cannot be loaded", "epoch", e, "error", err)
			p.run(func() { p.fail(err) })
			return
		}
		p.log.Debug("loaded", "epoch", e, "took", time.Since(began))
		p.post(colo.Loaded{Epoch: e})
	})
}

// fit makes durable that the disks are fit for takeover, after they are.
func (p *Pair) fit() error {
	for _, v := range p.volumes {
		if err := v.Sync(); err != nil {
			return err
		}
	}
	return updateAll(p.volumes, func(s *checkpoint.PairState) {
		s.Syncing, s.Poisoned, s.Why = false, false, ""
	})
}

// fail is for a store that failed where nobody else can say so: a secondary that cannot load is lost.
func (p *Pair) fail(err error) {
	p.take(colo.QEMUGone{}) // which poisons; QEMU is ended then
	p.leave(fmt.Errorf("%w: %w", ErrOut, err))
}

// promote makes this side's disks what they are, for good.
func (p *Pair) promote() {
	if !p.cfg.on(ruleDropStaged) {
		_ = p.sink.load(math.MaxInt64)
	}
	p.sink.drop()
	for i, v := range p.volumes {
		if !p.cfg.on(ruleSyncFirst) {
			break
		}
		if err := v.Sync(); err != nil {
			p.log.Error("the disk cannot be made durable", "disk", i, "error", err)
			p.post(colo.WriteFailed{Disk: i}) // what it shows from now on nobody knows
			return
		}
	}
	p.post(colo.Promoted{})
}

// poison marks the volumes. A store that cannot be written to fails its guest anyway.
func (p *Pair) poison(why string) {
	p.log.Error("poisoned", "why", why)
	p.sink.drop()
	err := updateAll(p.volumes, func(s *checkpoint.PairState) {
		s.Pair, s.Role, s.Generation = p.cfg.Name, checkpoint.RoleSecondary, p.generation
		s.Poisoned, s.Why = true, truncate(why, 200)
	})
	if err != nil {
		p.log.Error("the volumes cannot be marked as poisoned", "error", err)
	}
}

func truncate(s string, n int) string { return s[:min(len(s), n)] }

// farewell waits until the peer was told what it had to be told, and QEMU has ended, but not for ever.
func (p *Pair) farewell() {
	done := make(chan struct{})
	go func() {
		p.saying.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(2 * p.cfg.Times.Silence):
	}
}
