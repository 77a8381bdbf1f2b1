package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// job is one run: the front end and what its queues' threads share.
type job struct {
	o       *options
	front   *vhosttest.FrontEnd
	backend *process
	blocks  uint64 // requests that the range has room for
	tail    int    // bytes of the last of them
	base    time.Time
	workers []*worker
	taken   int64                 // checkpoints
	stopped atomic.Bool           // end now
	gone    atomic.Pointer[error] // why there is no back end any more
}

// errInterrupted is a run's that the user ended.
var errInterrupted = errors.New("interrupted")

// clock is a time in nanoseconds since the job was made.
func (j *job) clock() int64 { return int64(time.Since(j.base)) }

// lost is why the back end is of no use any more, nil while it is.
func (j *job) lost() error {
	if err := j.gone.Load(); err != nil {
		return *err
	}
	return nil
}

// measure does a run.
func measure(ctx context.Context, o options, progress io.Writer) (*result, error) {
	backend, err := openProcess(o.pid)
	if err != nil {
		return nil, err
	}
	defer backend.close()
	j := &job{o: &o, backend: backend, base: time.Now()}
	if err := j.connect(); err != nil {
		return nil, err
	}
	defer func() { _ = j.front.Close() }() // the back end may be gone by now
	if err := j.load(ctx, progress); err != nil {
		return nil, err
	}
	if o.fill {
		if err := j.workers[0].disk.Flush(); err != nil {
			return nil, err
		}
	}
	return j.result(), j.front.Stop()
}

// connect starts the rings and makes the workers.
func (j *job) connect() (err error) {
	o := j.o
	ring := ringSize(o.depth)
	// Whole pages of data and a line for each request, less than 100 bytes for each entry of a
	// ring, and the rounding of its parts to pages.
	perQueue := int64(o.depth)*(int64(o.bs)+2*4096) + int64(ring)*128 + 64<<10
	j.front, err = vhosttest.Connect(o.socket, vhosttest.Options{
		Packed: o.packed, EventIdx: true, Indirect: true,
		Queues: o.queues, QueueSize: ring, TableLen: tableLen, MemBytes: 1<<20 + perQueue*int64(o.queues),
	})
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := j.prepare(); err != nil {
		return errors.Join(err, j.front.Close())
	}
	return nil
}

// tableLen is the descriptors of a request: header, data and status, in a table of one cache line.
const tableLen = 4

// ringSize is QEMU's default, or more where the depth needs it. A request takes one entry.
func ringSize(depth int) int {
	n := 128
	for n < depth {
		n *= 2
	}
	return n
}

func (j *job) prepare() error {
	if j.o.packed && j.front.Acked()&vhosttest.FeaturePacked == 0 {
		return errors.New("the back end has no packed rings")
	}
	if err := j.setRange(); err != nil {
		return err
	}
	if err := j.front.Start(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	for i := range j.o.queues {
		w, err := j.newWorker(i)
		if err != nil {
			return err
		}
		j.workers = append(j.workers, w)
	}
	return nil
}

// setRange decides how many requests there is room for.
func (j *job) setRange() error {
	sectors, err := j.front.Capacity()
	if err != nil {
		return fmt.Errorf("capacity: %w", err)
	}
	disk, area, bs := sectors*sectorSize, uint64(j.o.area), uint64(j.o.bs)
	if area > disk {
		return usagef("--range is %d bytes and the disk has %d", area, disk)
	}
	if area == 0 {
		area = disk
	}
	j.blocks, j.tail = area/bs, int(bs)
	if rest := area % bs; j.o.fill && rest != 0 {
		j.blocks, j.tail = j.blocks+1, int(rest)
	}
	if j.blocks < uint64(j.o.queues) {
		return usagef("%d bytes are too few for requests of %d on %d queues", area, bs, j.o.queues)
	}
	return nil
}

func (j *job) newWorker(queue int) (*worker, error) {
	o := j.o
	ring := j.front.Queue(queue)
	disk, err := vhosttest.NewLeanDisk(ring, o.depth, int(o.bs))
	if err != nil {
		return nil, err
	}
	w := &worker{
		job: j, queue: queue, disk: disk, ring: ring, at: newOffsets(o, j.blocks, queue),
		bs: int(o.bs), tail: j.tail, poll: o.wait == waitPoll, flushEvery: o.flushEvery,
		left: -1, counted: newTally(), done: make([]*vhosttest.Req, 0, o.depth),
	}
	switch {
	case o.op == opRead:
		w.reads = 1 << 32
	case o.op == opMix:
		w.reads = uint64(o.mix) << 32 / 100
	}
	if n := int64(o.queues); o.requests > 0 {
		w.share = o.requests*int64(queue+1)/n - o.requests*int64(queue)/n
		w.left = w.share
	} else if o.fill {
		w.share = int64(w.at.blocks)
		w.left = w.share
	}
	if o.sure {
		w.sure = new(surely)
	}
	if o.verify {
		w.sum = newVerifier(w.at, w.bs)
	}
	fillData(disk, w.at)
	return w, nil
}

// fillData gives every request data that no back end can make smaller.
func fillData(disk *vhosttest.Disk, at offsets) {
	var all []*vhosttest.Req
	for r := disk.Get(); r != nil; r = disk.Get() {
		data := r.Data()
		for i := range data {
			if i%8 == 0 {
				v := at.rand.Uint64()
				for k := range min(8, len(data)-i) {
					data[i+k] = byte(v >> (8 * k))
				}
			}
		}
		all = append(all, r)
	}
	for _, r := range all {
		disk.Put(r)
	}
}

// load runs the workers to their end.
func (j *job) load(ctx context.Context, progress io.Writer) (err error) {
	// The threads of the queues spin: without more processors than that, nothing else would run.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(j.o.queues + 2))
	defer context.AfterFunc(ctx, func() { j.stop(errInterrupted) })()
	watch, err := j.watch()
	if err != nil {
		return err
	}
	defer watch.close()
	points, err := j.checkpoints()
	if err != nil {
		return err
	}
	bar := j.showProgress(progress)
	err = j.work()
	bar.close()
	var pointsErr error
	j.taken, pointsErr = points.close()
	if lost := j.lost(); lost != nil {
		return lost // it says more than what the workers saw of it
	}
	return errors.Join(err, pointsErr)
}

// work runs the workers' threads and returns the first error.
func (j *job) work() (first error) {
	ended := make(chan error)
	for _, w := range j.workers {
		go func() { ended <- w.run() }()
	}
	for range j.workers {
		if err := <-ended; err != nil && first == nil {
			first = err
			j.stopped.Store(true)
		}
	}
	return first
}

// stop ends the job over an error.
func (j *job) stop(err error) {
	j.gone.CompareAndSwap(nil, &err)
	j.stopped.Store(true)
}
