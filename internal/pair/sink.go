package pair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/mirror"
)

// sink is the secondary's disks as a session fills them. The session's goroutine stages epochs while
// the loop's goroutines load earlier ones.
type sink struct {
	disks []*volume
	begun func(mirror.SyncPlan) error // makes durable that a disk is not fit for takeover

	mu     sync.Mutex
	run    uint64                         // generation of the marks
	staged []map[uint64]*checkpoint.Stage // by disk and epoch
	base   []uint32                       // by disk: the point that own changes are dropped to
	again  []int                          // by disk: how often the epoch was loaded before
	synced []syncing
	done   map[int]bool // disks at the run's point

	keepOwn bool // ruleDropOwn does not hold
}

// syncing is a synchronisation of a disk that this process has seen from its beginning.
type syncing struct {
	run     mirror.ID
	written int64 // bytes
}

func newSink(disks []*volume, begun func(mirror.SyncPlan) error) *sink {
	k := &sink{disks: disks, begun: begun, done: map[int]bool{}}
	k.base, k.again = make([]uint32, len(disks)), make([]int, len(disks))
	k.synced = make([]syncing, len(disks))
	for range disks {
		k.staged = append(k.staged, map[uint64]*checkpoint.Stage{})
	}
	return k
}

var errNoBase = errors.New("no synchronised point to stand on")

// SyncBegin goes back to what both have, or to nothing.
func (k *sink) SyncBegin(plan mirror.SyncPlan) ([]mirror.Range, error) {
	if err := k.begun(plan); err != nil {
		return nil, err
	}
	k.drop()
	k.mu.Lock()
	s := &k.synced[plan.Disk]
	again := s.run == plan.Run
	if !again {
		s.run = mirror.ID{} // of none, until it stands where the run begins
	}
	delete(k.done, plan.Disk)
	k.mu.Unlock()
	if again {
		return []mirror.Range{{Off: 0, Len: plan.Size}}, nil
	}
	v, err := k.disks[plan.Disk], error(nil)
	if plan.From.IsZero() {
		err = errors.Join(k.forget(v), v.Zero(0, v.Size()))
	} else {
		err = goBack(v, plan.From)
	}
	if err == nil {
		k.mu.Lock()
		s.run = plan.Run
		k.mu.Unlock()
	}
	return nil, err
}

// forget deletes the points of earlier runs: nobody goes back to them any more.
func (k *sink) forget(v *volume) error {
	v.hold(0)
	var errs []error
	for _, p := range v.Points() {
		if _, ok := parseMark(p.Name); ok && (p.Retired || p.Left) {
			errs = append(errs, v.Delete(context.Background(), p.ID))
		}
	}
	return errors.Join(errs...)
}

// goBack drops what was written since a mark, for good.
func goBack(v *volume, to mirror.Mark) error {
	point, ok := v.find(to)
	if !ok {
		return fmt.Errorf("%w: %v", mirror.ErrUnknownMark, to)
	}
	r, err := v.Rollback(context.Background(), point)
	if err != nil || r.Left.ID == 0 {
		return err
	}
	return v.Delete(context.Background(), r.Left.ID)
}

// SyncWrite writes to the disk itself: nobody is served from it before the run has ended.
func (k *sink) SyncWrite(disk int, pieces []mirror.Piece) error {
	v := k.disks[disk]
	for _, p := range pieces {
		err := v.put(p)
		if err != nil {
			return fmt.Errorf("disk %d: %w", disk, err)
		}
		k.mu.Lock()
		k.synced[disk].written += p.Len
		k.mu.Unlock()
	}
	return nil
}

func (v *volume) put(p mirror.Piece) error {
	if p.Data == nil {
		return v.Zero(p.Off, p.Len)
	}
	_, err := v.WriteAt(p.Data, p.Off)
	return err
}

// SyncFlush makes durable what was written.
func (k *sink) SyncFlush(disk int) (int64, error) {
	k.mu.Lock()
	written := k.synced[disk].written
	k.mu.Unlock()
	return written, k.disks[disk].Sync()
}

// SyncEnd puts a point there, on which the epochs stand.
func (k *sink) SyncEnd(at mirror.Mark, disk int) error {
	v := k.disks[disk]
	point, err := putPoint(v, freeName(v, at))
	if err != nil {
		return fmt.Errorf("disk %d: %w", disk, err)
	}
	v.hold(point)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.base[disk], k.again[disk] = point, 0
	k.synced[disk] = syncing{}
	k.run = at.Generation
	k.done[disk] = true
	return nil
}

// freeName is a mark's name that no point has.
func freeName(v *volume, m mirror.Mark) string {
	for again := 0; ; again++ {
		name := markName(m, again)
		if _, err := v.Find(name); err != nil {
			return name
		}
	}
}

// putPoint puts a retired point that the next ones release.
func putPoint(v *volume, name string) (uint32, error) {
	t, err := v.Track()
	if err != nil {
		return 0, err
	}
	made, _, err := t.Start(name)
	t.Close()
	if err != nil {
		return 0, err
	}
	for retired := uint32(0); retired != made.ID; {
		p, err := v.Retire(context.Background())
		if err != nil {
			return 0, err
		}
		retired = p.ID
	}
	return made.ID, nil
}

// Write stages a part of an epoch.
func (k *sink) Write(disk int, epoch uint64, pieces []mirror.Piece) error {
	st, err := k.stage(disk, epoch)
	if err != nil {
		return err
	}
	for _, p := range pieces {
		if p.Data == nil {
			err = st.Zero(p.Off, p.Len)
		} else {
			err = st.Write(p.Off, p.Data)
		}
		if err != nil {
			return fmt.Errorf("disk %d: %w", disk, err)
		}
	}
	return nil
}

func (k *sink) stage(disk int, epoch uint64) (*checkpoint.Stage, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if st := k.staged[disk][epoch]; st != nil {
		return st, nil
	}
	st, err := k.disks[disk].Stage()
	if err == nil {
		k.staged[disk][epoch] = st
	}
	return st, err
}

// Seal prepares the load of an epoch of all disks.
func (k *sink) Seal(epoch uint64) error {
	for disk := range k.disks {
		st, err := k.stage(disk, epoch)
		if err == nil {
			err = st.Seal()
		}
		if err != nil {
			return fmt.Errorf("disk %d: %w", disk, err)
		}
	}
	return nil
}

// load makes an epoch current on all disks: what was staged up to it, in order, over what was current
// before. If it is current already, only the disks' own changes go.
func (k *sink) load(epoch uint64) error {
	for disk := range k.disks {
		if err := k.loadDisk(disk, epoch); err != nil {
			return fmt.Errorf("disk %d: load of epoch %d: %w", disk, epoch, err)
		}
	}
	return nil
}

func (k *sink) loadDisk(disk int, epoch uint64) error {
	k.mu.Lock()
	var due []uint64
	for e := range k.staged[disk] {
		if e <= epoch {
			due = append(due, e)
		}
	}
	slices.Sort(due)
	k.mu.Unlock()
	if len(due) == 0 {
		st, err := k.disks[disk].Stage()
		if err != nil {
			return err
		}
		return k.loadStage(disk, epoch, st)
	}
	for _, e := range due {
		k.mu.Lock()
		st := k.staged[disk][e]
		k.again[disk] = 0
		k.mu.Unlock()
		if err := k.loadStage(disk, e, st); err != nil {
			return err
		}
	}
	return nil
}

func (k *sink) loadStage(disk int, epoch uint64, st *checkpoint.Stage) error {
	k.mu.Lock()
	base, again, run := k.base[disk], k.again[disk], k.run
	k.mu.Unlock()
	if base == 0 {
		return errNoBase
	}
	if k.keepOwn {
		var err error
		if base, err = putPoint(k.disks[disk], ""); err != nil {
			return err
		}
	}
	name := markName(mirror.Mark{Generation: run, Epoch: int64(epoch)}, again)
	r, err := k.disks[disk].Load(context.Background(), st, base, name)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.staged[disk], epoch)
	k.base[disk] = r.Point.ID
	k.again[disk]++
	return nil
}

// drop ends all stages: nothing of them will be loaded.
func (k *sink) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range k.staged {
		for e, st := range m {
			st.Drop()
			delete(m, e)
		}
	}
}

// allSynced says that every disk is at the run's point.
func (k *sink) allSynced() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.done) == len(k.disks)
}

// bases are the points that the disks stand on, by disk.
func (k *sink) bases() []uint32 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.base)
}
