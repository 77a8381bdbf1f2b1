package pair

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// guest is a driver and a program whose whole state lies in guest memory: whoever gets a copy of the memory
// goes on where the first one was. It writes blocks, each full of a number that no other write has, and
// notes in memory what it was told is written.
type guest struct {
	t    *testing.T
	ring *vhosttest.Driver
	mem  []byte
	salt uint64 // two that begin in the same state do not go the same way

	desc, avail, used uint64 // guest addresses
	state, slots      uint64

	mu      sync.Mutex // held while it runs
	change  sync.Cond
	running bool
	closed  bool
	budget  int // writes that it still begins; below 0: no end
	failed  int // writes that ended with an error
	brave   bool
	ended   sync.WaitGroup
}

const (
	guestSlots = 8
	slotSize   = 8192
	ringSize   = 32
	diskBlocks = testSize / 4096

	// Words of the state, of 8 bytes; behind them the table of blocks.
	wordSeen  = 0
	wordTag   = 1
	wordRand  = 2
	wordTable = 8

	// Within a slot; the data is in its second page.
	slotStatus = 16
	slotBusy   = 20
	slotBlock  = 24
	slotTag    = 32
)

func newGuest(t *testing.T, f *vhosttest.FrontEnd, salt uint64) *guest {
	g := &guest{t: t, ring: f.Queue(0), mem: f.Memory(), salt: salt}
	g.change.L = &g.mu
	g.desc, g.avail, g.used = g.ring.Areas()
	g.state = f.Alloc(8*(wordTable+diskBlocks), 4096)
	g.slots = f.Alloc(guestSlots*slotSize, 4096)
	g.ended.Go(g.run)
	return g
}

func (g *guest) word(i int) uint64 { return binary.LittleEndian.Uint64(g.mem[g.state+8*uint64(i):]) }

func (g *guest) setWord(i int, v uint64) {
	binary.LittleEndian.PutUint64(g.mem[g.state+8*uint64(i):], v)
}

func (g *guest) slot(i int) []byte { return g.mem[g.slots+uint64(i)*slotSize:][:slotSize] }

// index is where the index of a ring's part is, with the flags before it.
func (g *guest) index(part uint64) *uint32 { return (*uint32)(unsafe.Pointer(&g.mem[part])) }

// run is the guest's CPU.
func (g *guest) run() {
	for {
		g.mu.Lock()
		for !g.running && !g.closed {
			g.change.Wait()
		}
		if g.closed {
			g.mu.Unlock()
			return
		}
		g.reap()
		g.begin()
		g.mu.Unlock()
		_, _ = g.ring.WaitCall(2 * time.Millisecond) // it looks in any case
	}
}

// reap takes what is done.
func (g *guest) reap() {
	done := uint16(atomic.LoadUint32(g.index(g.used)) >> 16)
	seen := uint16(g.word(wordSeen))
	for ; seen != done; seen++ {
		id := binary.LittleEndian.Uint32(g.mem[g.used+4+8*uint64(seen%ringSize):])
		s := g.slot(int(id) / 3)
		if s[slotStatus] != 0 {
			g.failed++
			if !g.brave {
				g.t.Errorf("the guest sees an error: status %d", s[slotStatus])
			}
		}
		block := binary.LittleEndian.Uint32(s[slotBlock:])
		g.setWord(wordTable+int(block), binary.LittleEndian.Uint64(s[slotTag:]))
		s[slotBusy] = 0
	}
	g.setWord(wordSeen, uint64(seen))
}

// begin puts writes into the free slots.
func (g *guest) begin() {
	began := false
	for i := range guestSlots {
		if g.budget == 0 || g.slot(i)[slotBusy] != 0 {
			continue
		}
		g.setWord(wordRand, (g.word(wordRand)+g.salt)*6364136223846793005+1442695040888963407)
		block := uint32(g.word(wordRand) >> 40 % diskBlocks)
		if g.writes(block) {
			continue // the next round takes another
		}
		g.setWord(wordTag, g.word(wordTag)+1)
		g.submit(i, block, g.word(wordTag)<<8|g.salt)
		began = true
		g.budget--
	}
	if began {
		g.ring.KickAlways()
	}
}

// writes says whether a write of the block is under way.
func (g *guest) writes(block uint32) bool {
	for i := range guestSlots {
		if s := g.slot(i); s[slotBusy] != 0 && binary.LittleEndian.Uint32(s[slotBlock:]) == block {
			return true
		}
	}
	return false
}

func (g *guest) submit(i int, block uint32, tag uint64) {
	s := g.slot(i)
	binary.LittleEndian.PutUint32(s, uint32(vhosttest.OpWrite))
	binary.LittleEndian.PutUint64(s[8:], uint64(block)*8)
	s[slotStatus], s[slotBusy] = byte(vhosttest.StatusNone), 1
	binary.LittleEndian.PutUint32(s[slotBlock:], block)
	binary.LittleEndian.PutUint64(s[slotTag:], tag)
	for at := 4096; at < slotSize; at += 8 {
		binary.LittleEndian.PutUint64(s[at:], tag)
	}
	at, first := g.slots+uint64(i)*slotSize, 3*i
	const next, device = 1, 2
	g.describe(first, at, 16, next)
	g.describe(first+1, at+4096, 4096, next)
	g.describe(first+2, at+slotStatus, 1, device)
	flags := atomic.LoadUint32(g.index(g.avail))
	n := uint16(flags >> 16)
	binary.LittleEndian.PutUint16(g.mem[g.avail+4+2*uint64(n%ringSize):], uint16(first))
	atomic.StoreUint32(g.index(g.avail), flags&0xffff|uint32(n+1)<<16)
}

func (g *guest) describe(i int, at uint64, n uint32, flags uint16) {
	d := g.mem[g.desc+16*uint64(i):]
	binary.LittleEndian.PutUint64(d, at)
	binary.LittleEndian.PutUint32(d[8:], n)
	binary.LittleEndian.PutUint16(d[12:], flags)
	binary.LittleEndian.PutUint16(d[14:], uint16(i+1))
}

// pause stops the CPU between two instructions.
func (g *guest) pause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running = false
}

func (g *guest) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running = true
	g.change.Broadcast()
}

// write has the guest write n blocks more; below 0: until it is told otherwise.
func (g *guest) write(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.budget = n
}

// inFlight is how many writes it was not told the end of.
func (g *guest) inFlight() (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range guestSlots {
		n += int(g.slot(i)[slotBusy])
	}
	return n
}

// told is what the guest was told is written, by block.
func (g *guest) told() []uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	table := make([]uint64, diskBlocks)
	for i := range table {
		table[i] = g.word(wordTable + i)
	}
	return table
}

// begun is how many writes it has begun in its life.
func (g *guest) begun() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.word(wordTag)
}

// expectErrors lets writes fail.
func (g *guest) expectErrors() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.brave = true
}

func (g *guest) errors() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed
}

func (g *guest) close() {
	g.mu.Lock()
	g.closed = true
	g.change.Broadcast()
	g.mu.Unlock()
	g.ended.Wait()
}

// quiet waits until the guest writes nothing.
func (g *guest) quiet() {
	g.t.Helper()
	g.write(0)
	until(g.t, "the guest's writes are done", func() bool { return g.inFlight() == 0 })
}

// check compares a disk with the guest's memory. Blocks that no guest ever wrote are not looked at.
func (g *guest) check(disk []byte) error {
	for block, tag := range g.told() {
		for at := 0; tag != 0 && at < 4096; at += 8 {
			if got := binary.LittleEndian.Uint64(disk[block*4096+at:]); got != tag {
				return fmt.Errorf("block %d byte %d: %#x on the disk, %#x in memory", block, at, got, tag)
			}
		}
	}
	return nil
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick, limit := time.NewTicker(2*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("not in time: %s", what)
		}
	}
}
