package mirror

import (
	"math/bits"
	"sync"
)

// Buffers for content come in powers of two from 4 KiB to maxBulk, so that small frames do not hold
// large buffers.
const (
	smallest = 12 // log2
	largest  = 20
)

var buffers [largest - smallest + 1]sync.Pool

// buffer is memory for the content of one frame.
type buffer struct {
	p     []byte
	class int
}

// getBuffer returns a buffer whose p has n bytes, at most maxBulk.
func getBuffer(n int) *buffer {
	class := max(bits.Len(uint(n-1)), smallest) - smallest
	b, ok := buffers[class].Get().(*buffer)
	if !ok {
		b = &buffer{p: make([]byte, 1<<(class+smallest)), class: class}
	}
	b.p = b.p[:n]
	return b
}

// bytes is what is in it; of nil nothing.
func (b *buffer) bytes() []byte {
	if b == nil {
		return nil
	}
	return b.p
}

func (b *buffer) free() {
	if b != nil {
		b.p = b.p[:cap(b.p)]
		buffers[b.class].Put(b)
	}
}
