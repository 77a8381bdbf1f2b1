package pair

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/mirror"
)

// synchronise brings the secondary to a point of each disk, and lets the stream begin behind it.
func (p *Pair) synchronise(o *outgoing) error {
	own, theirs := p.hello(mirror.Primary), o.session.Peer()
	from, _ := mirror.Common(&own, &theirs)
	began := time.Now()
	sources := make([]mirror.Source, len(p.volumes))
	bases := make([]uint32, len(p.volumes))
	for i := range p.volumes {
		src, err := p.source(o, i)
		if err == nil {
			bases[i], err = p.syncDisk(o, i, from, src)
		}
		if err != nil {
			return fmt.Errorf("disk %d: %w", i, err)
		}
		sources[i] = newSource(p.volumes[i], src.tracker)
	}
	p.log.Info("synchronised", "took", time.Since(began).Round(time.Millisecond))
	stream := o.session.Stream(sources)
	return p.onLoop(p.ctx, func() error {
		if p.out != o {
			return mirror.ErrClosed
		}
		for i, v := range p.volumes {
			v.hold(bases[i])
		}
		o.stream = stream
		p.take(colo.Synced{})
		return nil
	})
}

// source begins to note what changes on a disk, unless an earlier session has.
func (p *Pair) source(o *outgoing, disk int) (*source, error) {
	var t *checkpoint.Tracker
	err := p.onLoop(p.ctx, func() error {
		if p.out != o {
			return mirror.ErrClosed
		}
		if disk < len(o.copy.trackers) {
			t = o.copy.trackers[disk]
			return nil
		}
		if err := retireAll(p.volumes[disk]); err != nil {
			return err
		}
		var err error
		if t, err = p.volumes[disk].Track(); err == nil {
			o.copy.trackers = append(o.copy.trackers, t)
		}
		return err
	})
	return newSource(p.volumes[disk], t), err
}

// retireAll retires points that earlier runs left, so that there is room for others.
func retireAll(v *volume) error {
	for {
		_, err := v.Retire(context.Background())
		if errors.Is(err, checkpoint.ErrNoPoint) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// syncDisk sends what one disk lacks, and returns the point to which that leads.
func (p *Pair) syncDisk(o *outgoing, disk int, from mirror.Mark, src *source) (base uint32, err error) {
	v := p.volumes[disk]
	since := uint32(0)
	if !from.IsZero() {
		since, _ = v.find(from)
	}
	src.cut = func() error {
		at := mirror.Mark{Generation: o.session.Generation(), Epoch: mirror.Base}
		point, _, err := src.tracker.Start(markName(at, 0))
		base = point.ID
		return err
	}
	prepare := func(have []mirror.Range) (mirror.Source, error) {
		open, ended := src.tracker.Pending()
		if !p.cfg.on(ruleAllChanged) {
			have = append(have, mirror.Range{Off: v.Size() / 2, Len: v.Size() / 8})
		}
		lacks, err := lack(p.ctx, v, src.tracker, since, have)
		if err == nil {
			o.copy.planned.Store(max(o.copy.planned.Load(), int32(disk)+1))
		}
		src.left = open + ended + lacks
		p.log.Info("synchronising", "disk", disk, "bytes", src.left, "from", from.String())
		return src, err
	}
	options := mirror.SyncOptions{Progress: func(s mirror.SyncProgress) { p.status.syncing(s) }}
	if p.cfg.SyncRate > 0 {
		options.Limit = rate.NewLimiter(rate.Limit(p.cfg.SyncRate), 1<<20)
	}
	plan := mirror.SyncPlan{Run: o.copy.run, Disk: disk, Size: v.Size(), From: from, All: v.Size()}
	return base, o.session.Sync(p.ctx, plan, prepare, options)
}
