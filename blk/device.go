package blk

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/belay-vm/belay/internal/bio"
	"github.com/belay-vm/belay/vhostuser"
)

// ErrClosed is the error of a ring that was to run on a closed device.
var ErrClosed = errors.New("the block device is closed")

// ConfigError says that the guest wrote what it must not write into the config space.
type ConfigError struct {
	Offset uint32
	Len    int
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("config space is read-only at %d, %d bytes", e.Offset, e.Len)
}

// Device is a block device, to be served by a vhostuser.Server. Its methods may be called from
// any goroutine.
type Device struct {
	store   Store
	opts    Options
	serial  [SerialSize]byte
	workers []*worker

	pauses    pauses
	acked     atomic.Uint64 // feature bits
	writeback atomic.Bool   // the config field, which the guest writes
}

var _ vhostuser.Device = (*Device)(nil)

// New makes a device for a store. Close it when the server has ended, before the store.
func New(store Store, opts Options) (*Device, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Device{store: store, opts: opts}
	d.pauses.loops = map[*loop]bool{}
	d.pauses.change.L = &d.pauses.mu
	copy(d.serial[:], opts.Serial)
	d.writeback.Store(true)
	if keeper, ok := store.(CacheKeeper); ok {
		off, err := keeper.WriteThrough()
		if err != nil {
			return nil, err
		}
		d.writeback.Store(!off)
	}
	for i := range opts.Queues {
		d.workers = append(d.workers, &worker{dev: d, index: i, counters: opts.countersOf(i)})
	}
	return d, nil
}

// Features are the device's feature bits (virtio 1.2, section 5.2.3).
func (d *Device) Features() uint64 {
	f := featSegMax | featBlkSize | featFlush | featTopology | featConfigWCE | featMQ |
		featDiscard | featWriteZeroes
	if d.opts.SizeMax != 0 {
		f |= featSizeMax
	}
	if d.store.ReadOnly() {
		f |= featRO
	}
	return f
}

// SetFeatures tells what the front end acknowledged.
func (d *Device) SetFeatures(acked uint64) { d.acked.Store(acked) }

// NumQueues is the number of rings that the device serves.
func (d *Device) NumQueues() int { return len(d.workers) }

// ReadConfig fills p with the config space from off on.
func (d *Device) ReadConfig(p []byte, off uint32) error {
	space := d.config()
	clear(p)
	if off < configSize {
		copy(p, space[off:])
	}
	return nil
}

// config is the config space of now. Logical blocks are sectors, so that any image boots;
// physical ones are the blocks that a store maps.
func (d *Device) config() [configSize]byte {
	const perBlock = bio.BlockSize / bio.SectorSize
	c := config{
		capacity:    uint64(d.store.Size()) / bio.SectorSize,
		sizeMax:     d.opts.SizeMax,
		segMax:      uint32(d.opts.SegMax),
		blkSize:     bio.SectorSize,
		physicalExp: 3, // 2^3 sectors are a block
		minIO:       perBlock,
		writeback:   d.writeback.Load(),
		queues:      uint16(len(d.workers)),

		discardSectors:   d.opts.DiscardSectors,
		discardRanges:    maxRanges,
		discardAlignment: perBlock,
		zeroesSectors:    d.opts.DiscardSectors,
		zeroesRanges:     maxRanges,
		zeroesMayUnmap:   true,
	}
	return c.encode()
}

// WriteConfig lets the guest switch the write cache, which is the one field it may write. When it
// is switched off, completed writes that are still volatile become durable with the flush that
// follows the next write: there is no time to flush here, as the front end waits. A choice that
// cannot be kept is refused, and the guest reads that nothing changed.
func (d *Device) WriteConfig(off uint32, p []byte) error {
	if off != writebackOffset || len(p) != 1 {
		return &ConfigError{off, len(p)}
	}
	on := p[0] != 0
	if keeper, ok := d.store.(CacheKeeper); ok {
		if err := keeper.SetWriteThrough(!on); err != nil {
			return fmt.Errorf("write cache: %w", err)
		}
	}
	d.writeback.Store(on)
	return nil
}

// writeThrough reports whether a change has to be durable before it is completed (section
// 5.2.6.2): the guest says so by the config field if it can, otherwise by not being able to flush.
func (d *Device) writeThrough() bool {
	acked := d.acked.Load()
	if acked&featConfigWCE != 0 {
		return !d.writeback.Load()
	}
	return acked&featFlush == 0
}

// Run serves a ring; see vhostuser.Device.
func (d *Device) Run(q *vhostuser.Queue) error {
	if q.Index() >= len(d.workers) {
		return fmt.Errorf("queue %d: the device has %d", q.Index(), len(d.workers))
	}
	return d.workers[q.Index()].run(q)
}

// Stats are what the queues have completed so far.
func (d *Device) Stats() []QueueStats {
	s := make([]QueueStats, len(d.workers))
	for i, w := range d.workers {
		s[i] = w.counters.read()
	}
	return s
}

// Close ends the workers, waiting for rings that still run, and closes their lanes.
func (d *Device) Close() error {
	var errs []error
	for _, w := range d.workers {
		errs = append(errs, w.close())
	}
	return errors.Join(errs...)
}
