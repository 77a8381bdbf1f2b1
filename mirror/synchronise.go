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
	At      int64  // everything before this offset was sent
	Sent    uint64 // of content and zeroes, in this session
	Skipped uint64 // what the secondary had from a connection that broke
	Durable uint64 // what of it all is durable there
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

// Sync brings a disk of the secondary to the fixed point that src shows. It returns when the disk
// is durably there. One runs at a time.
func (s *Session) Sync(ctx context.Context, plan SyncPlan, src SyncSource, o SyncOptions) error {
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
	if err := y.send(ctx, src, answers); err != nil {
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

func (y *synchronisation) send(ctx context.Context, src SyncSource, answers chan any) error {
	for done := false; !done; {
		b, next, err := src.Next(y.status.At, maxBulk)
		if err != nil {
			return y.failed(fmt.Errorf("%w: disk %d: %w", ErrSource, y.plan.Disk, err))
		}
		invariant(b.Done || next > y.status.At, "a synchronisation goes on")
		b.Changes, y.status.Skipped = y.without(b.Changes), y.status.Skipped+y.skipped(b.Changes)
		if err := y.wait(ctx, b.Changes); err != nil {
			if b.Release != nil {
				b.Release()
			}
			return y.failed(err)
		}
		if err := y.s.sendBatch(y, b); err != nil {
			return err
		}
		y.status.At, done = next, b.Done
		select {
		case a := <-answers:
			if _, err := y.durable(a); err != nil {
				return err
			}
		default:
		}
		y.tell(y.status)
	}
	return nil
}

// without leaves out what the secondary has.
func (y *synchronisation) without(changes []Change) []Change {
	if len(y.have) == 0 {
		return changes
	}
	var list []Change
	for _, c := range changes {
		list = subtract(list, c, y.have)
	}
	return list
}

// skipped is how many bytes of changes without leaves out.
func (y *synchronisation) skipped(changes []Change) uint64 {
	n := int64(0)
	for _, c := range changes {
		n += c.Len
	}
	for _, c := range y.without(changes) {
		n -= c.Len
	}
	return uint64(n)
}

// subtract appends those parts of c to list that no range covers.
func subtract(list []Change, c Change, ranges []Range) []Change {
	for _, r := range ranges {
		switch end := r.Off + r.Len; {
		case c.Len == 0 || r.Off >= c.Off+c.Len:
			break
		case end <= c.Off:
			continue
		default:
			if r.Off > c.Off {
				head, rest := c.cut(r.Off - c.Off)
				list, c = append(list, head), rest
			}
			_, c = c.cut(min(c.Len, end-c.Off))
		}
	}
	if c.Len > 0 {
		list = append(list, c)
	}
	return list
}

// wait keeps to the rate.
func (y *synchronisation) wait(ctx context.Context, changes []Change) error {
	if y.limit == nil {
		return ctx.Err()
	}
	n := 0
	for _, c := range changes {
		if !c.Zero {
			n += int(c.Len)
		}
	}
	for n > 0 {
		step := min(n, y.limit.Burst())
		if err := y.limit.WaitN(ctx, step); err != nil {
			return err
		}
		n -= step
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
