package vhosttest

import (
	"math/bits"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// bitmap is a dirty log: one bit per 4 KiB page of guest memory from address 0.
type bitmap struct {
	fd    int
	bytes []byte
}

// logOffset places the bitmap behind the beginning of its file, as QEMU may.
const logOffset = pageSize

// StartLog makes a bitmap for the next Start, without a message: what a migration that begins
// while the machine is stopped does.
func (f *FrontEnd) StartLog() error {
	f.dropLog()
	words := (f.mem.Top()/pageSize + 63) / 64
	fd, p, err := memfd("vhosttest-log", int64(logOffset+words*8))
	if err != nil {
		return err
	}
	f.log = &bitmap{fd: fd, bytes: p}
	return nil
}

// StopLog forgets the bitmap without a message.
func (f *FrontEnd) StopLog() { f.dropLog() }

// SetLog switches dirty logging while the rings run, with QEMU's messages.
func (f *FrontEnd) SetLog(on bool) error {
	if on {
		if err := f.StartLog(); err != nil {
			return err
		}
		if err := f.SendLogBase(); err != nil {
			return err
		}
		return f.sendLogState(true)
	}
	old := f.log
	f.log = nil
	err := f.sendLogState(false)
	f.log = old
	f.dropLog()
	return err
}

func (f *FrontEnd) sendLogState(on bool) error {
	f.acked.Store(f.features())
	if err := f.SetFeatures(f.Acked()); err != nil {
		return err
	}
	for _, d := range f.drivers {
		if !d.started {
			continue
		}
		if err := f.SetAddr(d, on); err != nil {
			return err
		}
	}
	return nil
}

// ReplaceLog gives the back end a new bitmap and returns the pages that were marked in the
// old one up to its reply; afterwards the old one is gone, as when QEMU grows its bitmap.
func (f *FrontEnd) ReplaceLog() ([]uint64, error) {
	old := f.log
	f.log = nil
	if err := f.StartLog(); err != nil {
		return nil, err
	}
	if err := f.SendLogBase(); err != nil {
		return nil, err
	}
	pages := old.collect()
	old.close()
	return pages, nil
}

// SendLogBase sends SET_LOG_BASE, which has a reply although it does not ask for one.
func (f *FrontEnd) SendLogBase() error {
	size := uint64(len(f.log.bytes) - logOffset)
	m, err := f.Ask(SetLogBase, quads(size, logOffset), f.log.fd)
	if err != nil {
		return err
	}
	m.CloseFDs()
	return nil
}

// Dirty reports whether the page of a guest address is marked.
func (f *FrontEnd) Dirty(guest uint64) bool {
	page := guest / pageSize
	w := atomic.LoadUint64(quad(f.log.bytes, logOffset+page/64*8))
	return w>>(page%64)&1 != 0
}

// CollectDirty returns the numbers of all marked pages and clears their marks.
func (f *FrontEnd) CollectDirty() []uint64 { return f.log.collect() }

func (b *bitmap) collect() []uint64 {
	var pages []uint64
	for off := uint64(logOffset); off+8 <= uint64(len(b.bytes)); off += 8 {
		w := atomic.SwapUint64(quad(b.bytes, off), 0)
		for ; w != 0; w &= w - 1 {
			pages = append(pages, (off-logOffset)*8+uint64(bits.TrailingZeros64(w)))
		}
	}
	return pages
}

func (b *bitmap) close() {
	_ = unix.Munmap(b.bytes)
	_ = unix.Close(b.fd)
}

func (f *FrontEnd) dropLog() {
	if f.log != nil {
		f.log.close()
	}
	f.log = nil
}
