package main

import (
	"context"
	"net"

	"github.com/belay-vm/belay/blk"
	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/internal/pair"
	"github.com/belay-vm/belay/vhostuser"
)

// pairSide is one disk's part in a side of a pair, as its server needs it. A nil one belongs to a volume
// that is served by itself, and changes nothing.
type pairSide struct {
	pair  *pair.Pair
	index int
	disk  *pair.Disk
}

// fence is what stands between the device and its guest.
func (p *pairSide) fence() blk.Fence {
	if p == nil {
		return nil
	}
	return p.pair.Fence(p.index)
}

// before is what the front end talks to.
func (p *pairSide) before(dev *blk.Device) vhostuser.Device {
	if p == nil {
		return dev
	}
	p.disk = p.pair.Attach(p.index, dev)
	return p.disk
}

// watched notices front ends that hang up.
func (p *pairSide) watched(l net.Listener) net.Listener {
	if p == nil {
		return l
	}
	return p.disk.Listener(l)
}

// counters are what the pair has counted.
func (p *pairSide) counters() []control.Counter {
	if p == nil {
		return nil
	}
	sent := p.pair.Status().Sent
	return []control.Counter{
		{Name: "pair_carried_bytes_total", Value: float64(sent.Carried),
			Help: "Bytes of content that the kernel carried to the secondary from the data file."},
		{Name: "pair_read_bytes_total", Value: float64(sent.Read),
			Help: "Bytes of content that were read and then sent to the secondary."},
	}
}

// offered is the volume as the control socket has it.
func (p *pairSide) offered(v *served) control.Volume {
	if p == nil {
		return v
	}
	return &pairedVolume{v, p.pair}
}

// pairedVolume is a volume whose history the pair writes: what an operator did to it would be undone by
// the next checkpoint, or be unknown on the other side.
type pairedVolume struct {
	*served
	pair *pair.Pair
}

var _ control.Paired = (*pairedVolume)(nil)

func errPaired() error {
	return &control.Error{Code: control.CodeInUse, Message: "the volume is served as a side of a pair, " +
		"which has its own checkpoints"}
}

func (v *pairedVolume) Status(ctx context.Context) (control.Status, error) {
	st, err := v.served.Status(ctx)
	if err != nil {
		return st, err
	}
	now := v.pair.Status()
	st.Pair = &now
	return st, nil
}

func (v *pairedVolume) Start(context.Context, string) (control.Point, error) {
	return control.Point{}, errPaired()
}

func (v *pairedVolume) Retire(context.Context) (control.Point, error) {
	return control.Point{}, errPaired()
}

func (v *pairedVolume) Checkpoint(context.Context, string) (control.Point, error) {
	return control.Point{}, errPaired()
}

func (v *pairedVolume) Delete(context.Context, string) (control.Point, error) {
	return control.Point{}, errPaired()
}

func (v *pairedVolume) Rollback(context.Context, string) (control.Rollback, error) {
	return control.Rollback{}, errPaired()
}

func (v *pairedVolume) Undo(context.Context) (control.Rollback, error) {
	return control.Rollback{}, errPaired()
}

func (v *pairedVolume) Resize(context.Context, int64, bool) (control.Resized, error) {
	return control.Resized{}, errPaired()
}

func (v *pairedVolume) Failover(ctx context.Context) error {
	if err := v.pair.Failover(ctx); err != nil {
		return control.Wrap(control.CodeFailed, err)
	}
	return nil
}

func (v *pairedVolume) Reprotect(ctx context.Context, to control.Reprotect) error {
	if err := v.pair.Reprotect(ctx, to.Peer, to.MigrateURI); err != nil {
		return control.Wrap(control.CodeFailed, err)
	}
	return nil
}

func (v *pairedVolume) VerifyPair(ctx context.Context) (control.PairReport, error) {
	r, err := v.pair.Verify(ctx)
	if err != nil {
		return control.PairReport{}, control.Wrap(control.CodeFailed, err)
	}
	out := control.PairReport{At: r.At, Bytes: r.Bytes, Stopped: r.Stopped, Differ: []control.PairDifference{}}
	for _, d := range r.Differ {
		out.Differ = append(out.Differ, control.PairDifference(d))
	}
	return out, nil
}
