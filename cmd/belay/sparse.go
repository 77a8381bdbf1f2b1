package main

import "bytes"

const blockSize = 4096

var zeroes [blockSize]byte

// runs calls f for each run of blocks in p that are all zeroes, or all not, in order. p begins
// at byte off of the disk.
func runs(p []byte, off int64, f func(p []byte, off int64, blank bool) error) error {
	for len(p) > 0 {
		blank := isZero(p)
		n := min(blockSize, len(p))
		for n < len(p) && isZero(p[n:]) == blank {
			n = min(n+blockSize, len(p))
		}
		if err := f(p[:n], off, blank); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// isZero reports whether the first block of p is all zeroes.
func isZero(p []byte) bool {
	p = p[:min(blockSize, len(p))]
	return bytes.Equal(p, zeroes[:len(p)])
}

func alignDown(n int64) int64 { return n &^ (blockSize - 1) }

func alignUp(n int64) int64 { return alignDown(n + blockSize - 1) }
