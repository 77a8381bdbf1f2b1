package checkpoint

import (
	"hash/crc32"
	"io"
	"sync"
)

// blockShift returns what a CRC32C becomes when a block of zeroes follows, one table for each of
// its bytes: the checksum of data with one more block is this, changed by the block's own (CRCs are
// linear).
var blockShift = sync.OnceValue(func() *[4][256]uint32 {
	var t [4][256]uint32
	var zeroes [blockSize]byte
	for i := range 32 {
		t[i/8][1<<(i%8)] = ^crc32.Update(^(uint32(1) << i), castagnoli, zeroes[:])
	}
	for k := range t {
		for v := range t[k] {
			if low := v & -v; v != low {
				t[k][v] = t[k][low] ^ t[k][v^low]
			}
		}
	}
	return &t
})

// joinSums returns the CRC32C of data whose end is a block, from that of what is before it and that
// of the block.
func joinSums(before, last uint32) uint32 {
	t := blockShift()
	return t[0][before&0xff] ^ t[1][before>>8&0xff] ^ t[2][before>>16&0xff] ^ t[3][before>>24] ^ last
}

// sumChange fills in the checksum of a change's data, if there are checksums. The mutex is held.
func (s *Store) sumChange(c *Change) error {
	if s.sums == nil || c.Place < 0 || c.Len%blockSize != 0 {
		return nil
	}
	first, n := slot(c.Place/blockSize), uint64(c.Len/blockSize)
	if err := s.sums.ensure(first, n); err != nil {
		return err
	}
	c.Sum = s.sums.get(first)
	for i := slot(1); i < slot(n); i++ {
		c.Sum = joinSums(c.Sum, s.sums.get(first+i))
	}
	c.Summed = true
	return nil
}

// DataReader reads the data area, where the places of changes are, in whole blocks into memory that is
// aligned to them: it may be open for direct I/O, and then reads what the device has. It is an *os.File
// where the system has one, which stays the store's. Nothing is judged by its checksum.
func (s *Store) DataReader() io.ReaderAt {
	if o, ok := s.data.(*osFile); ok {
		return o.f
	}
	return s.data
}
