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
	// The threads of the queues spin: without more of them than that, nothing else would run.
	runtime.GOMAXPROCS(o.queues + 2)
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
	r := j.result()
	return r, j.front.Stop()
}

// connect starts the rings and makes the workers.
func (j *job) connect() (err error) {
	o := j.o
	ring := ringSize(o.depth)
	// A request takes its data and two pages; the tables of a ring take up to 4 KiB an entry.
	perQueue := int64(o.depth)*(int64(o.bs)+3*4096) + int64(ring)*(4096+64) + 64<<10
	j.front, err = vhosttest.Connect(o.socket, vhosttest.Options{
		Packed: o.packed, EventIdx: true, Indirect: true,
		Queues: o.queues, QueueSize: ring, MemBytes: 1<<20 + perQueue*int64(o.queues),
	})
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := j.prepare(); err != nil {
		return errors.Join(err, j.front.Close())
	}
	return nil
}

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
	disk, err := vhosttest.NewDisk(ring, o.depth, int(o.bs))
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
	if n := o.requests; n > 0 {
		w.left = n*int64(queue+1)/int64(o.queues) - n*int64(queue)/int64(o.queues)
	}
	if o.fill {
		w.left = int64(w.at.blocks)
	}
	if o.requests > 0 || o.fill {
		o.ramp = 0
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
func (j *job) load(ctx context.Context, progress io.Writer) error {
	defer context.AfterFunc(ctx, func() { j.stop(context.Cause(ctx)) })()
	watch, err := j.watch()
	if err != nil {
		return err
	}
	defer watch.close()
	checkpoints := j.checkpoints()
	ended := make(chan error)
	for _, w := range j.workers {
		go func() { ended <- w.run() }()
	}
	var failed error
	for range j.workers {
		if err := <-ended; err != nil && failed == nil {
			failed = err
			j.stopped.Store(true)
		}
	}
	j.taken = checkpoints.close()
	// What stopped the job says more than what the workers saw of it.
	if err := j.lost(); err != nil {
		return err
	}
	return failed
}

// stop ends the job over an error.
func (j *job) stop(err error) {
	j.gone.CompareAndSwap(nil, &err)
	j.stopped.Store(true)
}
