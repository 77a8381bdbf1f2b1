package checkpoint

import "math/bits"

// chunkBlocks is how many blocks one piece of a blockSet covers: 128 MiB of the disk in 4 KiB.
const chunkBlocks = 32768

// blockSet is a set of blocks. It takes memory for stretches of the disk that it has blocks of, so
// a set of a few blocks of a large disk is small; one bit a block at most.
type blockSet struct {
	chunks []*blockChunk // by block / chunkBlocks; nil: none
	n      uint64        // blocks in the set
	spare  []*blockChunk // emptied, all zero
}

type blockChunk struct {
	words [chunkBlocks / 64]uint64
	n     uint32 // blocks in it
}

// maxSpare bounds the emptied chunks that are kept for the next blocks.
const maxSpare = 64

// add puts n blocks from b into the set and returns how many were not in it.
func (s *blockSet) add(b block, n uint64) uint64 {
	var more uint64
	for n > 0 {
		c, at, k := s.chunk(uint64(b)/chunkBlocks), uint64(b)%chunkBlocks, uint64(0)
		for end := min(at+n, chunkBlocks); at+k < end; {
			mask, m := wordMask(at+k, end)
			w := &c.words[(at+k)/64]
			fresh := mask &^ *w
			*w |= mask
			c.n += uint32(bits.OnesCount64(fresh))
			more += uint64(bits.OnesCount64(fresh))
			k += m
		}
		b, n = b+block(k), n-k
	}
	s.n += more
	return more
}

// remove takes n blocks from b out of the set.
func (s *blockSet) remove(b block, n uint64) {
	for n > 0 {
		i, at := uint64(b)/chunkBlocks, uint64(b)%chunkBlocks
		k := min(n, chunkBlocks-at)
		if i < uint64(len(s.chunks)) && s.chunks[i] != nil {
			s.removeIn(i, at, at+k)
		}
		b, n = b+block(k), n-k
	}
}

func (s *blockSet) removeIn(i, at, end uint64) {
	c := s.chunks[i]
	for at < end {
		mask, m := wordMask(at, end)
		w := &c.words[at/64]
		gone := bits.OnesCount64(mask & *w)
		*w &^= mask
		c.n -= uint32(gone)
		s.n -= uint64(gone)
		at += m
	}
	if c.n > 0 {
		return
	}
	s.chunks[i] = nil
	if len(s.spare) < maxSpare {
		s.spare = append(s.spare, c)
	}
}

// has reports whether a block is in the set.
func (s *blockSet) has(b block) bool {
	i, at := uint64(b)/chunkBlocks, uint64(b)%chunkBlocks
	return i < uint64(len(s.chunks)) && s.chunks[i] != nil && s.chunks[i].words[at/64]>>(at%64)&1 != 0
}

// next returns the first run of blocks in the set at or behind from: where it begins and how long
// it is, at most max; n is 0 if there is none.
func (s *blockSet) next(from block, max uint64) (b block, n uint64) {
	i, at := uint64(from)/chunkBlocks, uint64(from)%chunkBlocks
	for ; i < uint64(len(s.chunks)); i, at = i+1, 0 {
		c := s.chunks[i]
		if c == nil {
			continue
		}
		for at < chunkBlocks {
			if w := c.words[at/64] >> (at % 64); w != 0 {
				b = block(i*chunkBlocks + at + uint64(bits.TrailingZeros64(w)))
				return b, s.runFrom(b, max)
			}
			at = at&^63 + 64
		}
	}
	return 0, 0
}

// runFrom returns how many blocks from b on, which is in the set, are in it: at most max.
func (s *blockSet) runFrom(b block, max uint64) uint64 { return s.stretch(b, max, true) }

// stretch returns how many of the blocks from b on are in the set, or are not, at most max.
func (s *blockSet) stretch(b block, max uint64, in bool) uint64 {
	n := uint64(0)
	for n < max {
		i, at := uint64(b+block(n))/chunkBlocks, uint64(b+block(n))%chunkBlocks
		if i >= uint64(len(s.chunks)) || s.chunks[i] == nil {
			if in {
				break
			}
			n += chunkBlocks - at
			continue
		}
		w := s.chunks[i].words[at/64]
		if !in {
			w = ^w
		}
		k := uint64(bits.TrailingZeros64(^(w >> (at % 64))))
		k = min(k, 64-at%64)
		n += k
		if k < 64-at%64 {
			break
		}
	}
	return min(n, max)
}

// outside calls fn for each run of the n blocks from b that is not in the set, with how many blocks
// behind b it begins.
func (s *blockSet) outside(b block, n uint64, fn func(skip, n uint64)) {
	for at := uint64(0); at < n; {
		k := s.stretch(b+block(at), n-at, false)
		if k > 0 {
			fn(at, k)
			at += k
		}
		at += s.stretch(b+block(at), n-at, true)
	}
}

// chunk returns a chunk to be added to.
func (s *blockSet) chunk(i uint64) *blockChunk {
	if i >= uint64(len(s.chunks)) {
		s.chunks = append(s.chunks, make([]*blockChunk, i+1-uint64(len(s.chunks)))...)
	}
	if c := s.chunks[i]; c != nil {
		return c
	}
	if k := len(s.spare) - 1; k >= 0 {
		s.chunks[i], s.spare = s.spare[k], s.spare[:k]
	} else {
		s.chunks[i] = new(blockChunk)
	}
	return s.chunks[i]
}

// wordMask returns the bits from at on, up to end, that lie in one word, and how many those are.
func wordMask(at, end uint64) (mask, n uint64) {
	n = min(64-at%64, end-at)
	return ^uint64(0) >> (64 - n) << (at % 64), n
}
