package checkpoint

import (
	"fmt"
	"unsafe"
)

// verify compares what a read brought with the payload checksums that it must have.
func (s *Store) verify(o *op) error {
	p := unsafe.Slice(o.vec[0].Base, o.bytes)
	for i, want := range o.sums {
		if err := checkSum(p[i*blockSize:][:blockSize], slot(o.off/blockSize)+slot(i), want); err != nil {
			s.stats.badSums.Add(1)
			return err
		}
	}
	return nil
}

func checkSum(p []byte, at slot, want uint32) error {
	if found := payloadSum(p); found != want {
		return corruptSum(dataName, int64(at)*blockSize, "a block of data", found, want)
	}
	return nil
}

// alignedBytes returns n bytes that direct I/O can use.
func alignedBytes(n int) []byte {
	p := make([]byte, n+blockSize)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(p))) % blockSize
	return p[skip:][:n:n]
}

// String says where a range of slots is, for people.
func (x extent) String() string { return fmt.Sprintf("slots %d to %d", x.first, x.first+slot(x.n)-1) }
