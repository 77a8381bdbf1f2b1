package mirror

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
)

// Sum is a checksum that tells states apart: SHA-256.
type Sum [sumLen]byte

const (
	sumLen      = sha256.Size
	minChunk    = 4 << 10 // bytes that a Sum covers
	maxChunk    = 16 << 20
	maxVerifies = 4 // requests under way
)

// The status of SUMS.
const (
	sumsOK = iota
	sumsUnknown
	sumsFailed
)

// ErrUnknownMark is for a state that a partner does not have.
var ErrUnknownMark = errors.New("no such common checkpoint")

// sumRange sums what a disk held at a mark, chunk by chunk.
func sumRange(ctx context.Context, r Reader, disk int, v *verify) ([]Sum, error) {
	list := make([]Sum, 0, (v.where.Len+int64(v.chunk)-1)/int64(v.chunk))
	p := make([]byte, min(int64(v.chunk), v.where.Len))
	for off, end := v.where.Off, v.where.Off+v.where.Len; off < end; off += int64(v.chunk) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p = p[:min(int64(v.chunk), end-off)]
		if err := r.ReadMark(v.at, disk, p, off); err != nil {
			return nil, err
		}
		list = append(list, sha256.Sum256(p))
	}
	return list, nil
}

// askedToVerify takes a request, on the secondary. A peer asks for a few at a time.
func (s *Session) askedToVerify(f frame) error {
	v := f.body.(*verify)
	if size := s.cfg.Hello.Disks[f.disk].Size; v.where.Off > size || v.where.Len > size-v.where.Off {
		return f.bad("outside of disk", uint64(f.disk))
	}
	select {
	case s.in.verifies <- f:
		return nil
	default:
		return &FrameError{f.kind, "requests", maxVerifies + 1, ErrWindow}
	}
}

// answerVerify sums beside everything else.
func (s *Session) answerVerify() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-s.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		var f frame
		select {
		case f = <-s.in.verifies:
		case <-s.stop:
			return nil
		}
		if err := s.say(kindSums, int(f.disk), s.sumsOf(ctx, f)); err != nil {
			return err
		}
	}
}

func (s *Session) sumsOf(ctx context.Context, f frame) *sums {
	v := f.body.(*verify)
	answer := &sums{id: v.id, status: sumsUnknown}
	if s.cfg.Reader == nil {
		return answer
	}
	list, err := sumRange(ctx, s.cfg.Reader, int(f.disk), v)
	switch {
	case err == nil:
		answer.status, answer.sums = sumsOK, list
	case !errors.Is(err, ErrUnknownMark):
		answer.status = sumsFailed
	}
	return answer
}

// heardSums passes an answer on to who waits for it.
func (s *Session) heardSums(f frame, b *sums) error {
	s.out.mu.Lock()
	c := s.out.checks[b.id]
	delete(s.out.checks, b.id)
	s.out.mu.Unlock()
	if c == nil {
		return &FrameError{f.kind, "number", uint64(b.id), ErrSequence}
	}
	c <- b
	return nil
}

// Verify compares a range of a disk, as it was at a mark, with the secondary's, in chunks of so many
// bytes (4 KiB to 16 MiB), and returns the chunks that differ. It goes on beside everything else.
func (s *Session) Verify(ctx context.Context, disk int, at Mark, where Range, chunk int) ([]Range, error) {
	var differ []Range
	if chunk < minChunk || chunk > maxChunk || (where.Off|where.Len|int64(chunk))%sector != 0 {
		return nil, fmt.Errorf("chunks of %d bytes: want sectors, %d to %d bytes", chunk, minChunk, maxChunk)
	}
	for end := where.Off + where.Len; where.Off < end; where.Off += where.Len {
		where.Len = min(end-where.Off, maxSums*int64(chunk))
		v := &verify{chunk: uint32(chunk), at: at, where: where}
		theirs, err := s.askSums(ctx, disk, v)
		if err != nil {
			return differ, err
		}
		ours, err := sumRange(ctx, s.cfg.Reader, disk, v)
		if err != nil {
			return differ, err
		}
		if len(theirs) != len(ours) {
			return differ, &FrameError{kindSums, "checksums", uint64(len(theirs)), ErrFormat}
		}
		for i := range ours {
			if off := where.Off + int64(i)*int64(chunk); ours[i] != theirs[i] {
				differ = append(differ, Range{off, min(int64(chunk), where.Off+where.Len-off)})
			}
		}
	}
	return differ, nil
}

// askSums asks the secondary.
func (s *Session) askSums(ctx context.Context, disk int, v *verify) ([]Sum, error) {
	c := make(chan *sums, 1)
	s.out.mu.Lock()
	if len(s.out.checks) >= maxVerifies {
		s.out.mu.Unlock()
		return nil, fmt.Errorf("%d verifications go on already", maxVerifies)
	}
	s.out.lastID++
	v.id = s.out.lastID
	s.out.checks[v.id] = c
	s.out.mu.Unlock()
	if err := s.conn.write(kindVerify, disk, v); err != nil {
		return nil, err
	}
	select {
	case answer := <-c:
		switch answer.status {
		case sumsUnknown:
			return nil, fmt.Errorf("%w at the secondary: %v", ErrUnknownMark, v.at)
		case sumsFailed:
			return nil, errors.New("the secondary cannot read its disk")
		}
		return answer.sums, nil
	case <-ctx.Done():
		return nil, ctx.Err() // the answer is still expected
	case <-s.stop:
		return nil, s.cause()
	}
}
