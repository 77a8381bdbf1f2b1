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
	"github.com/belay-vm/belay/qmp"
)

// outgoing is what a primary sends in one session: all disks from one point on.
type outgoing struct {
	session  *mirror.Session
	run      mirror.ID
	trackers []*checkpoint.Tracker
	sources  []*source
	base     []uint32 // points
	stream   *mirror.Stream
	over     chan struct{} // closed with the session
	sealing  context.CancelFunc
	points   map[uint64][]uint32 // of epochs that are not retired, by disk
}

// seek looks for the peer, again after each session that came to nothing. The pair is made once: whoever
// was given up is sought again when the operator says so.
func (p *Pair) seek(ctx context.Context) {
	if p.seeking {
		return
	}
	p.seeking = true
	peer := p.cfg.Peer
	p.work.Go(func() {
		for pause := askAgain; ctx.Err() == nil; pause = min(2*pause, 5*time.Second) {
			s, err := p.call(ctx, peer)
			if err == nil {
				p.run(func() { p.seeking = false; p.meetPeer(s) })
				return
			}
			p.log.Warn("the peer cannot be reached", "peer", peer, "reason", err)
			p.status.problem(err)
			if isFinal(err) {
				break
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
		p.run(func() { p.seeking = false })
	})
}

// isFinal says that trying again would not help.
func isFinal(err error) bool {
	for _, e := range []error{
		mirror.ErrNotMirror, mirror.ErrVersion, mirror.ErrWrongPeer, mirror.ErrWrongVolume, mirror.ErrSize,
		mirror.ErrOlderGeneration, mirror.ErrCertificate,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// call opens a session.
func (p *Pair) call(ctx context.Context, peer string) (*mirror.Session, error) {
	c, err := p.cfg.Transport.Dial(ctx, peer)
	if err != nil {
		return nil, err
	}
	return mirror.Open(ctx, c, mirror.Config{
		Hello: p.hello(mirror.Primary), Timeout: p.cfg.Times.Silence, Lease: p.lease,
		Reader: reader{p}, Event: p.fromSecondary,
	})
}

// hello is what this side says of itself.
func (p *Pair) hello(role mirror.Role) mirror.Hello {
	h := mirror.Hello{Role: role, Name: p.cfg.Name, Marks: commonMarks(p.volumes)}
	if role == mirror.Secondary {
		h.Window = p.cfg.Window
	}
	for _, v := range p.volumes {
		state, _ := v.Pair()
		h.Generation = max(h.Generation, state.Generation)
		h.Was = mirror.Role(state.Role)
		h.Disks = append(h.Disks, mirror.DiskHello{
			ID: v.diskID(role == mirror.Primary), Size: v.Size(),
		})
	}
	return h
}

// fromSecondary passes on what the secondary says.
func (p *Pair) fromSecondary(e mirror.Event) {
	switch e := e.(type) {
	case mirror.Acked:
		p.status.acked(time.Now())
		p.post(colo.Acked{Epoch: colo.Epoch(e.Epoch)})
	case mirror.Reported:
		p.run(func() {
			p.durable(e.Durable)
			p.take(colo.Reported{Epoch: colo.Epoch(e.Epoch)})
		})
	case mirror.Renewed:
		now := p.lease.Now() // before Left: rather too early
		p.post(colo.Renewed{Until: now + p.lease.Left()})
	case mirror.GaveUp:
		if e.Reason == mirror.Poisoned {
			p.post(colo.PeerLeft{Why: e.Text})
		}
	}
}

// meetPeer takes a session in. While the machine has no use for one it ends again.
func (p *Pair) meetPeer(s *mirror.Session) {
	if p.secondary || p.p.Phase() != colo.PrimaryAlone || p.mirror != nil {
		go s.Close()
		return
	}
	o := &outgoing{session: s, over: make(chan struct{}), points: map[uint64][]uint32{}}
	p.mirror, p.out = s, o
	p.status.problem(nil)
	p.log.Info("the peer is there", "generation", s.Generation())
	p.take(colo.PeerUp{})
	p.work.Go(func() { p.renew(s) })
	p.work.Go(func() {
		if err := p.synchronise(o); err != nil {
			p.log.Warn("synchronisation", "error", err)
			p.status.problem(err)
			s.Close()
		}
	})
	p.work.Go(func() {
		<-s.Done()
		close(o.over)
		p.run(func() { p.lostPeer(s, o) })
	})
}

// lostPeer is the end of a session.
func (p *Pair) lostPeer(s *mirror.Session, o *outgoing) {
	early := p.p.Phase() == colo.PrimarySyncing
	p.log.Warn("the session is over", "cause", s.Err())
	p.mirror = nil
	p.closeOut()
	p.take(colo.PeerLost{Cause: fmt.Sprint(s.Err())})
	if early {
		p.seek(p.ctx)
	}
}

// closeOut ends the tracking of changes. From now on the newest common point says what has changed.
func (p *Pair) closeOut() {
	o := p.out
	if o == nil {
		return
	}
	p.out = nil
	if o.sealing != nil {
		o.sealing()
	}
	for i, t := range o.trackers {
		t.Close()
		close(o.sources[i].wait)
	}
}

// renew keeps the secondary's promise going.
func (p *Pair) renew(s *mirror.Session) {
	tick := time.NewTicker(p.cfg.Times.Promise / 8)
	defer tick.Stop()
	for {
		if err := s.Renew(p.cfg.Times.Promise); err != nil {
			return // Done says so
		}
		select {
		case <-tick.C:
		case <-s.Done():
			return
		}
	}
}

// synchronise brings the secondary to a point of now, and lets the stream begin behind it.
func (p *Pair) synchronise(o *outgoing) error {
	own, theirs := p.hello(mirror.Primary), o.session.Peer()
	from, ok := mirror.Common(&own, &theirs)
	o.run = newID()
	began := time.Now()
	for i := range p.volumes {
		if err := p.track(o, i); err != nil {
			return fmt.Errorf("disk %d: %w", i, err)
		}
	}
	for i, v := range p.volumes {
		since := uint32(0)
		if ok {
			since, _ = v.find(from)
		}
		if err := p.syncDisk(o, i, from, since); err != nil {
			return fmt.Errorf("disk %d: %w", i, err)
		}
	}
	for i, v := range p.volumes {
		v.hold(o.base[i])
	}
	p.log.Info("synchronised", "took", time.Since(began).Round(time.Millisecond))
	var sources []mirror.Source
	for _, s := range o.sources {
		sources = append(sources, s)
	}
	stream := o.session.Stream(sources)
	p.run(func() {
		if p.out == o {
			o.stream = stream
			p.take(colo.Synced{})
		}
	})
	return nil
}

// track puts the point of the run and begins to note what changes behind it.
func (p *Pair) track(o *outgoing, disk int) error {
	v := p.volumes[disk]
	if err := retireAll(v); err != nil {
		return err
	}
	t, err := v.Track()
	if err != nil {
		return err
	}
	src := &source{tracker: t, wait: make(chan struct{})}
	point, epoch, err := t.Start(markName(mirror.Mark{Run: o.run, Epoch: mirror.Base}, 0))
	if err == nil {
		err = discard(t, epoch)
	}
	if err != nil {
		t.Close()
		return err
	}
	added := make(chan bool, 1)
	p.run(func() {
		ok := p.out == o
		if ok {
			o.trackers, o.sources = append(o.trackers, t), append(o.sources, src)
			o.base = append(o.base, point.ID)
		}
		added <- ok
	})
	select {
	case ok := <-added:
		if !ok {
			t.Close()
			return mirror.ErrClosed
		}
		return nil
	case <-p.ctx.Done():
		t.Close()
		return p.ctx.Err()
	}
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

// syncDisk sends one disk's state at the point of the run.
func (p *Pair) syncDisk(o *outgoing, disk int, from mirror.Mark, since uint32) error {
	v := p.volumes[disk]
	f, err := fix(p.ctx, v, o.base[disk], since)
	if err != nil {
		return err
	}
	defer f.view.Close()
	plan := mirror.SyncPlan{Run: o.run, Disk: disk, Size: v.Size(), All: f.all}
	if since != 0 {
		plan.From = from
	}
	options := mirror.SyncOptions{Progress: func(s mirror.SyncProgress) { p.status.syncing(s) }}
	if p.cfg.SyncRate > 0 {
		options.Limit = rate.NewLimiter(rate.Limit(p.cfg.SyncRate), 1<<20)
	}
	p.log.Info("synchronising", "disk", disk, "bytes", f.all, "from", plan.From.String())
	return o.session.Sync(p.ctx, plan, f, options)
}

// durable notes what the secondary has for good: older points are not needed any more.
func (p *Pair) durable(epoch int64) {
	if p.out == nil || epoch == mirror.Base {
		return
	}
	for i, v := range p.volumes {
		if points := p.out.points[uint64(epoch)]; points != nil && points[i] != 0 {
			v.hold(points[i])
		}
	}
}

// doPeer sends what concerns the peer.
func (p *Pair) doPeer(a colo.Action) bool {
	switch a := a.(type) {
	case colo.Seal:
		p.seal(a)
	case colo.AnnounceStart:
		p.announceStart(a.Epoch)
	case colo.Commit:
		p.commit(uint64(a.Epoch))
	case colo.GiveUpPeer:
		p.log.Warn("the peer is given up", "why", a.Why)
		p.giveUp(mirror.Machine, a.Why)
	case colo.HandOver:
		p.log.Warn("the guest is handed over", "why", a.Why)
		p.giveUp(mirror.Leaving, a.Why)
	case colo.AnnounceShutdown:
		if s := p.mirror; s != nil {
			p.say(func() error { return s.Shutdown(mirror.GuestShutdown) })
		}
	default:
		return p.answerPeer(a)
	}
	return true
}

// say sends something short that the machine waits for, beside the loop.
func (p *Pair) say(f func() error) {
	p.saying.Add(1)
	go func() {
		defer p.saying.Done()
		if err := f(); err != nil {
			p.log.Warn("to the peer", "error", err)
		}
	}()
}

// giveUp ends the session with a word to the peer.
func (p *Pair) giveUp(reason mirror.Reason, why string) {
	s := p.mirror
	if s == nil {
		return
	}
	if p.out != nil && p.out.sealing != nil {
		p.out.sealing()
	}
	p.say(func() error { s.GiveUp(reason, why); return nil })
}

// seal ends the epoch on all disks at once, and sends the rest of it.
func (p *Pair) seal(a colo.Seal) {
	o := p.out
	if o == nil || o.stream == nil {
		p.post(colo.PeerLost{Cause: "there is no stream"})
		return
	}
	var points []uint32
	for i, t := range o.trackers {
		name := markName(mirror.Mark{Run: o.run, Epoch: int64(a.Epoch)}, 0)
		point, _, err := t.Start(name)
		if errors.Is(err, checkpoint.ErrUnretired) || errors.Is(err, checkpoint.ErrTooMany) {
			t.Cut() // without a point there is only more to send after a failure
			err = nil
		}
		if err != nil {
			p.log.Error("an epoch cannot be sealed", "disk", i, "error", err)
			go o.session.Close()
			return
		}
		points = append(points, point.ID)
	}
	o.points[uint64(a.Epoch)] = points
	ctx, cancel := context.WithCancel(p.ctx)
	o.sealing = cancel
	p.status.drained(time.Now())
	p.say(func() error {
		defer cancel()
		err := o.stream.Seal(ctx, uint64(a.Epoch), encodeDigests(a.Digests))
		p.status.sent(time.Now())
		return err
	})
}

// announceStart tells the secondary that the seal does not stand any longer, and waits for its word.
func (p *Pair) announceStart(e colo.Epoch) {
	o := p.out
	if o == nil || o.stream == nil {
		return
	}
	p.say(func() error {
		err := o.stream.RingStart(uint64(e))
		if err == nil {
			err = askStarted(p.ctx, o.session, e)
		}
		if err == nil {
			p.post(colo.StartAcked{Epoch: e})
		}
		return err
	})
}

// commit retires the points up to an epoch, which the secondary has made current.
func (p *Pair) commit(epoch uint64) {
	o := p.out
	p.status.committed(epoch)
	if o == nil {
		return
	}
	last := make([]uint32, len(p.volumes))
	for e, points := range o.points {
		if e > epoch {
			continue
		}
		for i, id := range points {
			last[i] = max(last[i], id)
		}
		if e+keepPoints < epoch {
			delete(o.points, e)
		}
	}
	for i, v := range p.volumes {
		p.work.Go(func() {
			if err := retireTo(v, last[i]); err != nil {
				p.log.Warn("a checkpoint cannot be retired", "disk", i, "error", err)
			}
		})
	}
}

// keepPoints is for how many epochs the points are remembered, until the secondary has them for good.
const keepPoints = 64

// retireTo retires points up to one.
func retireTo(v *volume, last uint32) error {
	v.retiring.Lock()
	defer v.retiring.Unlock()
	for {
		due := false
		for _, q := range v.Points() {
			_, mark := parseMark(q.Name)
			due = due || mark && !q.Retired && q.ID <= last
		}
		if !due {
			return nil
		}
		if _, err := v.Retire(context.Background()); err != nil {
			return err
		}
	}
}

// startColo starts the migration that becomes COLO, and sees whether it does.
func (p *Pair) startColo() {
	if err := p.migrate(); err != nil {
		p.log.Error("COLO cannot be started", "error", err)
		p.status.problem(err)
		p.post(colo.ColoExit{Reason: err.Error()})
	}
}

func (p *Pair) migrate() error {
	c, err := p.qemu.current()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(p.ctx, heartbeatTimeout)
	defer cancel()
	err = c.SetCapabilities(ctx, qmp.Capability{Name: qmp.CapabilityColo, State: true})
	if err == nil && p.cfg.Delay > 0 {
		err = c.SetCheckpointDelay(ctx, p.cfg.Delay)
	}
	if err == nil {
		err = c.Migrate(ctx, p.cfg.MigrateURI)
	}
	if err != nil {
		return err
	}
	return p.awaitColo(c)
}

// awaitColo looks whether the migration ends in COLO. It has all the time that the memory takes.
func (p *Pair) awaitColo(c *qmp.Client) error {
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(p.ctx, heartbeatTimeout)
		m, err := c.QueryMigrate(ctx)
		cancel()
		switch {
		case p.ctx.Err() != nil || c.Err() != nil:
			return nil // that is told otherwise
		case err != nil && !errors.Is(err, qmp.ErrTimeout):
			return err
		case m.Status == qmp.MigrationColo:
			p.log.Info("COLO runs")
			return nil
		case m.Status == qmp.MigrationFailed, m.Status == qmp.MigrationCancelled,
			m.Status == qmp.MigrationCompleted:
			return fmt.Errorf("the migration to %s: %s %s", p.cfg.MigrateURI, m.Status, m.ErrorDesc)
		}
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return nil
		case <-c.Done():
			return nil
		}
	}
}
