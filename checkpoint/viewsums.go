package checkpoint

import (
	"context"
	"fmt"
	"hash/crc32"
)

// Sums returns the CRC32C of each piece of n bytes, the last of which may be shorter, of the state
// from byte off on, up to length bytes. Two volumes that show the same have the same sums, whatever
// lies where: that is how a pair compares its two sides at a point that both have.
func (v *View) Sums(ctx context.Context, off, length int64, n int) ([]uint32, error) {
	size := v.Size()
	if off < 0 || length < 0 || off > size || length > size-off || n <= 0 || n > maxSumPiece {
		return nil, fmt.Errorf("sums of %d bytes from byte %d, %d at a time, of a state of %d bytes",
			length, off, n, size)
	}
	buf := make([]byte, n)
	sums := make([]uint32, 0, (length+int64(n)-1)/int64(n))
	for end := off + length; off < end; off += int64(n) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p := buf[:min(int64(n), end-off)]
		if err := v.readSparse(p, off); err != nil {
			return nil, err
		}
		sums = append(sums, crc32.Update(0, castagnoli, p))
	}
	return sums, nil
}

// maxSumPiece bounds the memory that sums take.
const maxSumPiece = 16 << 20

// readSparse is ReadAt for those who expect little data.
func (v *View) readSparse(p []byte, off int64) error {
	end := off + int64(len(p))
	for done := off; done < end; {
		at, n, err := v.NextData(done)
		if err != nil {
			return err
		}
		if n == 0 || at > end {
			at = end
		}
		if at > done {
			clear(p[done-off : at-off])
		}
		stop := min(at+n, end)
		if stop > at {
			if _, err := v.ReadAt(p[at-off:stop-off], at); err != nil {
				return err
			}
		}
		done = max(stop, at)
	}
	return nil
}
