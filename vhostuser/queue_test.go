package vhostuser

import (
	"errors"
	"testing"
)

// TestQueueRefuses : ring descriptions that cannot be served.
func TestQueueRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		packed bool
		spoil  func(c *ringConfig)
		want   error
	}{
		{"no size", false, func(c *ringConfig) { c.size = 0 }, ErrRingSize},
		{"no power of two", false, func(c *ringConfig) { c.size = 12 }, ErrRingSize},
		{"too large", false, func(c *ringConfig) { c.size = 65536 }, ErrRingSize},
		{"packed, no size", true, func(c *ringConfig) { c.size = 0 }, ErrRingSize},
		{"packed, too large", true, func(c *ringConfig) { c.size = 32769 }, ErrRingSize},
		{"base above 16 bits", false, func(c *ringConfig) { c.base = 0x10000 }, ErrRingIndex},
		{"packed, avail outside", true, func(c *ringConfig) { c.base = 0x80008008 }, ErrRingIndex},
		{"packed, used outside", true, func(c *ringConfig) { c.base = 0x80088000 }, ErrRingIndex},
		{"descriptors nowhere", false, func(c *ringConfig) { c.descUser = 0 }, ErrUnmapped},
		{"avail nowhere", false, func(c *ringConfig) { c.availUser = userBase - 1 }, ErrUnmapped},
		{"used ends outside", false, func(c *ringConfig) { c.usedUser = userBase + regionSize - 8 }, ErrUnmapped},
		{"end of the address space", false, func(c *ringConfig) { c.usedUser = ^uint64(3) }, ErrUnmapped},
		{"descriptors misaligned", false, func(c *ringConfig) { c.descUser += 8 }, ErrAlignment},
		{"avail misaligned", false, func(c *ringConfig) { c.availUser++ }, ErrAlignment},
		{"used misaligned", false, func(c *ringConfig) { c.usedUser += 2 }, ErrAlignment},
		{"packed ring misaligned", true, func(c *ringConfig) { c.descUser += 8 }, ErrAlignment},
		{"driver area misaligned", true, func(c *ringConfig) { c.availUser += 2 }, ErrAlignment},
		{"device area misaligned", true, func(c *ringConfig) { c.usedUser += 2 }, ErrAlignment},
		{"packed ring outside", true, func(c *ringConfig) {
			c.descUser = userBase + regionSize - 16
		}, ErrUnmapped},
	} {
		mem := heapTable()
		c := newDriver(mem, tt.packed, 8, true).config()
		tt.spoil(&c)
		_, err := newQueue(c, mem, nil, nil)
		var where *RingError
		if !errors.Is(err, tt.want) || !errors.As(err, &where) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if _, err := newQueue(c, nil, nil, nil); err == nil {
			t.Errorf("%s: accepted without memory", tt.name)
		}
	}
}

// TestAvailBetweenWords : the avail ring may start at any even address.
func TestAvailBetweenWords(t *testing.T) {
	mem := heapTable()
	c := newDriver(mem, false, 8, true).config()
	c.availUser += 2
	r := attach(t, mem, newSplitDriver(mem, c), rigOptions{})
	for range 100 {
		passOne(r, seg{dataAt, 4, false}, seg{dataAt, 1, true})
		wantArm(r, false)
	}
}

// TestRingBroken : damage of the ring itself ends it, for good and with a place.
func TestRingBroken(t *testing.T) {
	one := seg{dataAt, 1, false}
	for _, tt := range []struct {
		name   string
		packed bool
		harm   func(r *rig)
		want   error
	}{
		{"avail.idx runs ahead", false, func(r *rig) { poke16(r.drv.(*splitDriver).avail, 2, 9) }, ErrRingIndex},
		{"avail.idx runs back", false, func(r *rig) {
			poke16(r.drv.(*splitDriver).avail, 2, 0xffff)
		}, ErrRingIndex},
		{"head outside", false, func(r *rig) { r.drv.(*splitDriver).offer(8) }, ErrRingIndex},
		{"head twice", false, func(r *rig) {
			head := r.drv.add(false, one)
			r.next(new(Chain))
			r.drv.(*splitDriver).offer(head)
		}, ErrRingTwice},
		{"endless chain", true, func(r *rig) {
			for range 8 {
				r.drv.(*packedDriver).addRaw([]seg{one}, flagNext)
			}
		}, ErrChainLoop},
		{"more than a lap in flight", true, func(r *rig) {
			for range 8 {
				r.drv.add(false, one)
				r.next(new(Chain))
			}
			d := r.drv.(*packedDriver)
			d.ids = append(d.ids, 1)
			d.addRaw([]seg{one}, 0)
		}, ErrChainLoop},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, rigOptions{packed: tt.packed, size: 8})
			tt.harm(r)
			for range 2 {
				ok, err := r.q.Next(new(Chain))
				var broken *RingError
				if ok || !errors.Is(err, tt.want) || !errors.As(err, &broken) {
					t.Fatalf("Next: %v, %v; want %v", ok, err, tt.want)
				}
			}
			if _, err := r.q.Arm(); !errors.Is(err, tt.want) {
				t.Errorf("Arm: %v", err)
			}
			if err := r.q.Publish(); !errors.Is(err, tt.want) {
				t.Errorf("Publish: %v", err)
			}
			r.q.Disarm()
		})
	}
}

// TestCompleteTwice : a device that completes what it did not take breaks its ring, visibly.
func TestCompleteTwice(t *testing.T) {
	r := newRig(t, rigOptions{size: 4})
	r.drv.add(false, seg{dataAt, 1, false})
	var c Chain
	r.next(&c)
	r.q.Complete(&c, 0)
	r.q.Complete(&c, 0)
	if err := r.q.Publish(); !errors.Is(err, ErrNotTaken) {
		t.Errorf("Publish: %v", err)
	}
}

// TestMemoryMoves : a stopped queue goes on at other mappings of the same memory, and a
// running one sees regions that are added.
func TestMemoryMoves(t *testing.T) {
	bothLayouts(t, func(t *testing.T, packed bool) {
		r := newRig(t, rigOptions{packed: packed, size: 8})
		passOne(r, seg{dataAt, 1, true})
		mem := r.mem.clone()
		must(t, r.q.setMemory(mem))
		r.mem, r.drv = mem, r.drv.at(mem)
		passOne(r, seg{dataAt, 1, true})

		late := memRegion{guestAddr: 1 << 40, size: 4096, userAddr: 1}
		r.drv.add(false, seg{late.guestAddr, 1, true})
		r.q.growMemory(mem.plus(newRegion(late, heapMapping(4096))))
		var c Chain
		r.next(&c)
		r.q.Complete(&c, 1)
		r.publish()

		if err := r.q.setMemory(nil); !errors.Is(err, ErrUnmapped) {
			t.Errorf("a table without the ring: %v", err)
		}
	})
}
