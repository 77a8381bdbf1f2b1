package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/qmp"
	"github.com/belay-vm/belay/tools/pair"
)

// qemuDies kills the primary's QEMU and nothing else. Where nobody on the secondary's side hears of that,
// the word is given as soon as its QEMU notices.
func qemuDies(ctx context.Context, l *lab, s subject, v values) error {
	if err := l.keepWriting(ctx, s); err != nil {
		return err
	}
	mark := l.vms[pair.B].Events.Len()
	killed := time.Now()
	if l.verbose {
		fmt.Fprintln(os.Stderr, "QEMU is killed at", killed)
	}
	if err := unix.Kill(l.vms[pair.A].PID(), unix.SIGKILL); err != nil {
		return err
	}
	exit, err := l.vms[pair.B].Events.Await(ctx, mark, qmp.EventColoExit)
	if err != nil {
		return err
	}
	v["noticed_ms"] = millis(l.eventBefore(exit).Sub(killed))
	if !s.hears {
		if err := s.word(ctx, l); err != nil {
			return err
		}
	}
	running, err := l.resumed(ctx, exit)
	v["died_ms"] = millis(running.Sub(killed))
	return err
}

// hostDies kills the primary's host, QEMU and whatever is beside it, and gives the word once the
// secondary may take over.
func hostDies(ctx context.Context, l *lab, s subject, v values) error {
	if err := l.keepWriting(ctx, s); err != nil {
		return err
	}
	return l.loseHost(ctx, s, v)
}

// loseHost kills the primary's host, gives the word once the secondary may take over, and waits until the
// guest runs there.
func (l *lab) loseHost(ctx context.Context, s subject, v values) error {
	mark := l.vms[pair.B].Events.Len()
	killed := time.Now()
	l.killHost(pair.A)
	exit, err := l.vms[pair.B].Events.Await(ctx, mark, qmp.EventColoExit)
	if err != nil {
		return err
	}
	if s.free != nil {
		if err := s.free(ctx, l); err != nil {
			return err
		}
		v["promise_ms"] = millis(time.Since(killed))
	}
	word := time.Now()
	if err := s.word(ctx, l); err != nil {
		return err
	}
	running, err := l.resumed(ctx, exit)
	v["word_ms"] = millis(running.Sub(word))
	return err
}

// keepWriting has the guest write from now on, so that a takeover finds something to do. It returns when
// that has begun and has lasted for some checkpoints: to start fio takes its time.
func (l *lab) keepWriting(ctx context.Context, s subject) error {
	if s.noLoad {
		return nil
	}
	const began = `writes() { set -- $(cat /sys/block/vda/stat); echo $5; }
was=$(writes)
until [ $(writes) -gt $((was + 100)) ]; do sleep 0.1; done`
	a := l.vms[pair.A]
	_, err := a.RunContext(ctx, fioCommand(timed(writeLoad, 5*time.Minute))+" >/dev/null 2>&1 &\n"+began)
	if err != nil {
		return err
	}
	return a.Checkpoints(ctx, settle)
}

// resumed is when the secondary's guest went on, after COLO had ended there: QEMU stops it once
// more, if it is not stopped by a checkpoint that never ended.
func (l *lab) resumed(ctx context.Context, mark int) (time.Time, error) {
	b := l.vms[pair.B]
	next, err := b.Events.Await(ctx, mark, qmp.EventResume)
	if err != nil {
		return time.Time{}, fmt.Errorf("the secondary does not run: %w", err)
	}
	return l.eventBefore(next), nil
}

// eventBefore is the time, on QEMU's clock, of the secondary's event before a mark.
func (l *lab) eventBefore(mark int) time.Time { return l.vms[pair.B].Events.All()[mark-1].At }
