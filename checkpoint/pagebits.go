package checkpoint

import (
	"math/bits"
	"slices"
)

// pageBits says for each page of the map file whether it is taken. Pages behind the end are
// not; page 0 always is.
type pageBits struct {
	words []uint64
	n     uint64 // pages
	used  uint64 // bits set
}

// grow makes the file at least n pages long.
func (b *pageBits) grow(n uint64) {
	if n <= b.n {
		return
	}
	if need := int((n + 63) / 64); need > len(b.words) {
		b.words = slices.Grow(b.words, need-len(b.words))[:need]
	}
	b.n = n
	b.set(0)
}

// trim cuts free pages off the end.
func (b *pageBits) trim() {
	for b.n > 1 && !b.has(b.n-1) {
		b.n--
	}
	b.words = b.words[:(b.n+63)/64]
}

func (b *pageBits) has(i uint64) bool { return i < b.n && b.words[i/64]>>(i%64)&1 != 0 }

func (b *pageBits) set(i uint64) {
	if !b.has(i) {
		b.words[i/64] |= 1 << (i % 64)
		b.used++
	}
}

// clear frees a page. One that is free already stays so: only a file in which two refs name the
// same page gets here, and check reports that.
func (b *pageBits) clear(i uint64) {
	if i != 0 && b.has(i) {
		b.words[i/64] &^= 1 << (i % 64)
		b.used--
	}
}

func (b *pageBits) setRun(x pageExtent) {
	for i := x.page; i < x.page+x.n; i++ {
		b.set(i)
	}
}

func (b *pageBits) clearRun(x pageExtent) {
	for i := x.page; i < x.page+x.n; i++ {
		b.clear(i)
	}
}

func (b *pageBits) clone() pageBits {
	return pageBits{words: slices.Clone(b.words), n: b.n, used: b.used}
}

// hole returns the first run of free pages from a page on that is at least so long, cut at most;
// none (n = 0) when there is none before the end.
func (b *pageBits) hole(from, least, most uint64) pageExtent {
	for at := b.next(from, false); at < b.n; {
		end := b.next(at, true)
		if end-at >= least {
			return pageExtent{at, min(end-at, most)}
		}
		at = b.next(end, false)
	}
	return pageExtent{}
}

// holes returns every run of free pages, up to a number of them.
func (b *pageBits) holes(limit int) []pageExtent {
	var all []pageExtent
	for at := b.next(1, false); at < b.n && len(all) < limit; {
		end := b.next(at, true)
		all = append(all, pageExtent{at, end - at})
		at = b.next(end, false)
	}
	return all
}

// next returns the first page from i on that is taken, or free; the end if there is none.
func (b *pageBits) next(i uint64, taken bool) uint64 {
	var flip uint64
	if !taken {
		flip = ^flip
	}
	for i < b.n {
		if w := (b.words[i/64] ^ flip) >> (i % 64); w != 0 {
			return min(i+uint64(bits.TrailingZeros64(w)), b.n)
		}
		i = (i/64 + 1) * 64
	}
	return b.n
}
