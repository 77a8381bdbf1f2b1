package mirror

import (
	"context"
	"fmt"

	"golang.org/x/time/rate"
)

// SyncOptions are what a synchronisation can do without.
type SyncOptions struct {
	Limit    *rate.Limiter      // bytes a second; nil: as fast as it goes
	Progress func(SyncProgress) // called after each step; must not wait
}

// SyncProgress is how far a synchronisation of a disk is, in bytes.
type SyncProgress struct {
	Disk    int
	Sent    uint64 // of content and zeroes, in this session
	Durable uint64 // what the secondary has durably of the run
	All     int64  // the plan's estimate
}

// flushEvery is how many bytes of a synchronisation a secondary takes before it makes them durable,
// which is what a broken connection can cost.
const flushEvery = 64 << 20

// synchronisation is one disk's, on the primary.
type synchronisation struct {
	s      *Session
	plan   SyncPlan
	limit  *rate.Limiter
	tell   func(SyncProgress)
	have   []Range
	status SyncProgress
}

// Sync brings a disk of the secondary to the state of the primary's at the moment when the source is
// Done. It returns when the secondary has that durably, which both then know by the mark (generation,
// Base). What prepare returns is sent: it is told in which ranges the secondary still has
// everything that it took in an earlier session of the same run. One runs at a time. A fault ends
// the session, and so does ctx.
func (s *Session) Sync(ctx context.Context, plan SyncPlan, prepare func(have []Range) (Source, error),
	o SyncOptions) error {
	y := &synchronisation{s: s, plan: plan, limit: o.Limit, tell: o.Progress}
	y.status = SyncProgress{Disk: plan.Disk, All: plan.All}
	if y.tell == nil {
		y.tell = func(SyncProgress) {}
	}
	answers := make(chan any, 4)
	if !s.setSyncs(nil, answers) {
		return fmt.Errorf("a synchronisation goes on already")
	}
	defer s.setSyncs(answers, nil)
	if err := s.conn.write(kindSyncBegin, plan.Disk, &plan); err != nil {
		return err
	}
	if err := y.begin(ctx, answers); err != nil {
		return err
	}
	source, err := prepare(y.have)
	if err != nil {
		return y.failed(err)
	}
	if err := y.send(ctx, source, answers); err != nil {
		return err
	}
	return y.finish(ctx, answers)
}

// setSyncs replaces who hears of synchronisation, if it is who one thinks.
func (s *Session) setSyncs(old, c chan any) bool {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if s.out.syncs != old {
		return false
	}
	s.out.syncs = c
	return true
}

// syncing says whether a synchronisation goes on. Meanwhile a secondary may take its time: it makes
// durable what came, and nobody waits.
func (s *Session) syncing() bool {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	return s.out.syncs != nil
}

// heardSync passes an answer on. There is room for as many as can be under way at once, and of
// progress only the newest counts.
func (s *Session) heardSync(f frame, answer any) error {
	s.out.mu.Lock()
	c := s.out.syncs
	s.out.mu.Unlock()
	if c == nil {
		return &FrameError{f.kind, "without a synchronisation; disk", uint64(f.disk), ErrSequence}
	}
	for {
		select {
		case c <- heardOf{int(f.disk), answer}:
			return nil
		default:
		}
		select {
		case <-c:
		default:
		}
	}
}

// heardOf is an answer of the secondary.
type heardOf struct {
	disk int
	what any
}

func (y *synchronisation) bad(kind Kind) error {
	return &FrameError{kind, "of another synchronisation; disk", uint64(y.plan.Disk), ErrSequence}
}

// begin waits for what the secondary has already.
func (y *synchronisation) begin(ctx context.Context, answers chan any) error {
	select {
	case a := <-answers:
		have, ok := a.(heardOf).what.(*syncHave)
		if !ok || have.run != y.plan.Run || a.(heardOf).disk != y.plan.Disk {
			return y.failed(y.bad(kindSyncHave))
		}
		y.have = have.ranges
		return nil
	case <-ctx.Done():
		return y.failed(ctx.Err())
	case <-y.s.stop:
		return y.s.cause()
	}
}

// failed ends the session, because half a synchronisation is of no use to it. What the secondary
// has durably counts the next time.
func (y *synchronisation) failed(err error) error {
	y.s.fail(err)
	return err
}

func (y *synchronisation) send(ctx context.Context, source Source, answers chan any) error {
	for {
		b, err := source.Next(maxBulk)
		if err != nil {
			return y.failed(fmt.Errorf("%w: disk %d: %w", ErrSource, y.plan.Disk, err))
		}
		if err := y.wait(ctx, b.Changes); err != nil {
			if b.Release != nil {
				b.Release(false)
			}
			return y.failed(err)
		}
		if err := y.s.sendBatch(y, b); err != nil {
			return y.failed(err)
		}
		y.tell(y.status)
		if b.Done {
			return nil
		}
		var more <-chan struct{}
		if len(b.Changes) == 0 {
			more = b.Wait
		}
		if err := y.pause(ctx, more, answers); err != nil {
			return err
		}
	}
}

// pause hears what the secondary says, until there is more to send; more is nil if there may be.
func (y *synchronisation) pause(ctx context.Context, more <-chan struct{}, answers chan any) error {
	now := make(chan struct{})
	if more == nil {
		close(now)
	}
	for {
		select {
		case a := <-answers:
			if _, err := y.durable(a); err != nil {
				return err
			}
			continue
		default:
		}
		select {
		case a := <-answers:
			if _, err := y.durable(a); err != nil {
				return err
			}
		case <-more:
			return nil
		case <-now:
			return nil
		case <-ctx.Done():
			return y.failed(ctx.Err())
		case <-y.s.stop:
			return y.s.cause()
		}
	}
}

// Without returns those parts of ascending ranges that no other ascending range covers: what is to
// be sent to who has the others.
func Without(ranges, have []Range) []Range {
	var list []Range
	for _, r := range ranges {
		list = subtract(list, r, have)
	}
	return list
}

// subtract appends to list the parts of r that nothing in have covers.
func subtract(list []Range, r Range, have []Range) []Range {
	for _, h := range have {
		end := r.Off + r.Len
		if h.Off >= end {
			break
		}
		if h.Off > r.Off {
			list = append(list, Range{r.Off, h.Off - r.Off})
		}
		r.Off = min(max(r.Off, h.Off+h.Len), end)
		r.Len = end - r.Off
	}
	if r.Len > 0 {
		list = append(list, r)
	}
	return list
}

// wait keeps to the rate.
func (y *synchronisation) wait(ctx context.Context, changes []Change) error {
	if y.limit == nil {
		return ctx.Err()
	}
	n := int64(0)
	for _, c := range changes {
		if !c.Zero {
			n += c.Len
		}
	}
	for n > 0 {
		step := int(min(n, int64(y.limit.Burst())))
		if err := y.limit.WaitN(ctx, step); err != nil {
			return err
		}
		n -= int64(step)
	}
	return ctx.Err()
}

func (y *synchronisation) packing() packing {
	return packing{kindSyncData, y.plan.Disk, func(list []extent) body { return &syncData{y.plan.Run, list} }}
}

func (y *synchronisation) sent(list []extent) {
	for _, e := range list {
		y.status.Sent += uint64(e.len)
	}
}

// finish waits until the secondary has the disk durably.
func (y *synchronisation) finish(ctx context.Context, answers chan any) error {
	end := &syncEnd{y.plan.Run, y.status.Sent}
	if err := y.s.conn.write(kindSyncEnd, y.plan.Disk, end); err != nil {
		return err
	}
	for {
		select {
		case a := <-answers:
			last, err := y.durable(a)
			if last || err != nil {
				return err
			}
		case <-ctx.Done():
			return y.failed(ctx.Err())
		case <-y.s.stop:
			return y.s.cause()
		}
	}
}

// durable takes the secondary's word of its progress.
func (y *synchronisation) durable(a any) (last bool, err error) {
	done, ok := a.(heardOf).what.(*syncDone)
	if !ok || done.run != y.plan.Run || a.(heardOf).disk != y.plan.Disk {
		return false, y.failed(y.bad(kindSyncDone))
	}
	y.status.Durable = done.durable
	y.tell(y.status)
	return done.last, nil
}
