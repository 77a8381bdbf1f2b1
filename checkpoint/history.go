package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/belay-vm/belay/internal/probe"
)

// Point is a place in a volume's history: a checkpoint, or the state that a rollback left.
type Point struct {
	ID       uint32    `json:"id"`
	Name     string    `json:"name,omitempty"`
	Line     uint32    `json:"line"` // the branch it lies on
	Time     time.Time `json:"time"`
	Size     int64     `json:"size"`     // bytes of the disk then
	Sequence uint64    `json:"sequence"` // the last record before it
	Retired  bool      `json:"retired"`  // a takeover may return to it
	Keep     bool      `json:"keep"`     // stays until it is deleted
	Left     bool      `json:"left"`     // the state that a rollback left
	Bytes    int64     `json:"bytes"`    // of data kept that later points do not have, at most
}

// Line is a branch of a volume's history.
type Line struct {
	ID      uint32 `json:"id"`
	Parent  uint32 `json:"parent"` // the point it began at; 0 for the first
	Current bool   `json:"current"`
}

func (p *point) public() Point {
	return Point{
		ID: uint32(p.id), Name: p.name, Line: uint32(p.line), Time: p.time, Size: p.size,
		Sequence: uint64(p.seq), Retired: p.retired, Keep: p.keep, Left: p.left,
		Bytes: int64(p.blocks()) * blockSize,
	}
}

// Points returns every point of the volume, oldest first.
func (s *Store) Points() []Point {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ps []Point
	for _, p := range s.points {
		if !p.temp {
			ps = append(ps, p.public())
		}
	}
	return ps
}

// Lines returns the branches of the volume's history.
func (s *Store) Lines() []Line {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ls []Line
	for _, b := range s.branches {
		ls = append(ls, Line{ID: uint32(b.id), Parent: uint32(b.at), Current: b.id == s.line})
	}
	return ls
}

// Find returns the point with a name or, written in digits, a number.
func (s *Store) Find(nameOrNumber string) (Point, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := strconv.ParseUint(nameOrNumber, 10, 32)
	for _, p := range s.points {
		if !p.temp && (p.name == nameOrNumber && p.name != "" || err == nil && uint64(p.id) == id) {
			return p.public(), nil
		}
	}
	return Point{}, fmt.Errorf("%w: %q", ErrNoPoint, nameOrNumber)
}

// controlRecord is a change to history in its parts.
type controlRecord struct {
	prepare func() (length int, err error) // finds what is against it; the payload's length
	put     func(payload []byte)
	apply   func()
}

// control puts a record of a change to history into the journal and applies it, once nothing
// is found against it. A full journal gets a snapshot first. Neither lock is held.
func (s *Store) control(kind recordKind, c controlRecord) error {
	for try := 0; ; try++ {
		err := s.controlOnce(kind, c)
		if err != errJournalFull || try == 2 {
			return err
		}
		s.admin.Lock()
		err = s.snapshot()
		s.admin.Unlock()
		if err != nil {
			return err
		}
	}
}

func (s *Store) controlOnce(kind recordKind, c controlRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.changeable(); err != nil {
		return err
	}
	n, err := c.prepare()
	if err != nil {
		return err
	}
	return s.enter(kind, n, c.put, c.apply)
}

// enter writes a control record and applies it. The store's mutex is held.
func (s *Store) enter(kind recordKind, length int, put func([]byte), apply func()) error {
	payload, err := s.journal.reserve(length, true)
	if err != nil {
		return err
	}
	put(payload)
	s.seq++
	s.journal.seal(kind, s.seq, s.line, s.epoch)
	apply()
	s.intents.bare = s.journal.tail()
	s.watch()
	return nil
}

// Start puts a point at the end of everything completed so far and goes on in the next epoch. It
// copies nothing and waits for no I/O; Retire makes it durable. A point that nobody asked to keep
// is released when a later one is retired.
func (s *Store) Start(name string, keep bool) (Point, error) {
	began := probe.Now()
	p, err := s.startPoint(&point{name: name, keep: keep || name != "", time: time.Now()})
	s.tell(probe.CheckpointStart, p.ID, began, err)
	return p, err
}

func (s *Store) startPoint(p *point) (Point, error) {
	r := startRecord{flags: p.flags(), time: p.time.UnixNano(), name: p.name}
	var made Point
	prepare := func() (int, error) {
		r.id = s.epoch
		return r.encodedLen(), s.mayStart(p)
	}
	err := s.control(recordStart, controlRecord{prepare, r.encode, func() {
		s.start(p)
		s.awaitSeal(p)
		made = p.public()
	}})
	return made, err
}

// mayStart says what is against a new point.
func (s *Store) mayStart(p *point) error {
	if len(p.name) > maxName {
		return fmt.Errorf("name of %d bytes: %w", len(p.name), ErrTooMany)
	}
	for _, q := range s.points {
		if q.name == p.name && p.name != "" {
			return fmt.Errorf("checkpoint %q: %w", p.name, ErrExists)
		}
	}
	if n := len(s.waiting()); n >= s.opts.MaxUnretired && !p.temp {
		return fmt.Errorf("%w: %d wait, at most %d may", ErrUnretired, n, s.opts.MaxUnretired)
	}
	if s.epoch >= maxEpoch-1 || len(s.points) >= maxPoints {
		return fmt.Errorf("another checkpoint: %w", ErrTooMany)
	}
	return nil
}

// Retire makes the oldest started point the one that a takeover returns to. When it returns, the
// point and everything before it is durable.
func (s *Store) Retire(ctx context.Context) (Point, error) {
	began := probe.Now()
	var p *point
	var done Point
	prepare := func() (int, error) {
		waiting := s.waiting()
		if len(waiting) == 0 {
			return 0, fmt.Errorf("%w waits to be retired", ErrNoPoint)
		}
		p = waiting[0]
		return wordLen, ctx.Err()
	}
	put := func(payload []byte) { putWord(payload, uint64(p.id)) }
	err := s.control(recordRetire, controlRecord{prepare, put, func() {
		s.retire(p)
		done = p.public()
	}})
	if err != nil {
		return Point{}, err
	}
	if err := s.releaseBefore(p); err != nil {
		return Point{}, err
	}
	err = s.Sync()
	s.tell(probe.CheckpointRetired, done.ID, began, err)
	return done, err
}

// releaseBefore deletes the retired points before p that nobody asked to keep.
func (s *Store) releaseBefore(p *point) error {
	s.mu.Lock()
	var release []*point
	for _, q := range s.points {
		if q.id < p.id && q.retired && !q.keep && !q.temp && q.views == 0 {
			release = append(release, q)
			s.recur(q)
		}
	}
	s.mu.Unlock()
	for _, q := range release {
		if err := s.deletePoint(q); err != nil {
			return err
		}
	}
	return nil
}

// Checkpoint starts a point that is kept until it is deleted, and retires it together with every
// point that waited before it.
func (s *Store) Checkpoint(ctx context.Context, name string) (Point, error) {
	p, err := s.Start(name, true)
	for err == nil && !p.Retired {
		var q Point
		q, err = s.Retire(ctx)
		switch {
		case q.ID == p.ID:
			p = q
		case errors.Is(err, ErrNoPoint): // somebody else retired it together with theirs
			if p, err = s.Find(strconv.FormatUint(uint64(p.ID), 10)); err == nil {
				err = s.Sync()
			}
		}
	}
	return p, err
}

// Delete removes a point. The space that only it kept comes back in the background.
func (s *Store) Delete(ctx context.Context, id uint32) error {
	s.mu.Lock()
	p, err := s.point(epoch(id))
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.deletePoint(p); err != nil {
		return err
	}
	s.endRecurrence()
	return s.Sync()
}

func (s *Store) deletePoint(p *point) error {
	prepare := func() (int, error) {
		if _, err := s.point(p.id); err != nil {
			return 0, err
		}
		if p.views > 0 {
			return 0, fmt.Errorf("checkpoint %d is being read", p.id)
		}
		if !p.retired && !p.left && !p.temp && p.line == s.line {
			return 0, fmt.Errorf("checkpoint %d is not retired yet: retire it first", p.id)
		}
		return wordLen, nil
	}
	put := func(b []byte) { putWord(b, uint64(p.id)) }
	err := s.control(recordDelete, controlRecord{prepare, put, func() { s.remove(p) }})
	s.background.pokeTend()
	return err
}

// commitSweep enters a sweep into the journal and does it. The admin lock is held.
func (s *Store) commitSweep(r *run, w swept) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.poisoned(); err != nil {
		return err
	}
	if err := s.ensureSweep(w); err != nil {
		return err
	}
	owner, _ := s.findRun(r.id)
	record := sweepRecord{run: r.id, count: r.blocks}
	return s.enter(recordSweep, sweepLen, record.encode, func() { s.sweep(owner, r, w) })
}
