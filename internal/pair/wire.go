package pair

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/mirror"
)

// What a seal says of the rings: a byte with their number, then for each the disk, the queue and its
// digest. Those for which there is no room are not compared.
const (
	digestLen  = 6
	mostDigest = 10 // in the 64 bytes that a seal has for it
)

func encodeDigests(d colo.Digests) []byte {
	rings := make([]colo.Ring, 0, len(d))
	for r := range d {
		rings = append(rings, r)
	}
	slices.SortFunc(rings, func(a, b colo.Ring) int {
		return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Disk, b.Disk))
	})
	rings = rings[:min(len(rings), mostDigest)]
	b := []byte{byte(len(rings))}
	for _, r := range rings {
		b = append(b, byte(r.Disk), byte(r.Queue))
		b = binary.LittleEndian.AppendUint32(b, uint32(d[r]))
	}
	return b
}

var errDigests = errors.New("malformed digests of rings")

func decodeDigests(b []byte) (colo.Digests, error) {
	d := colo.Digests{}
	if len(b) == 0 || int(b[0])*digestLen != len(b)-1 {
		return nil, fmt.Errorf("%w: %d bytes", errDigests, len(b))
	}
	for b = b[1:]; len(b) > 0; b = b[digestLen:] {
		r := colo.Ring{Disk: int(b[0]), Queue: int(b[1])}
		d[r] = colo.Digest(binary.LittleEndian.Uint32(b[2:]))
	}
	return d, nil
}

// The wire has no answer to RING START, and the rings must not run before the secondary has put its seal
// away. So the primary asks for the checksum of a mark that does not exist, and the secondary says that
// it does not know it: not before the machine has answered.

// startedRun is the run of such marks.
var startedRun = mirror.ID{'r', 'i', 'n', 'g', ' ', 's', 't', 'a', 'r', 't'}

// askStarted returns when the secondary has put the seal of an epoch away.
func askStarted(ctx context.Context, s *mirror.Session, e colo.Epoch) error {
	const least = 4096
	at := mirror.Mark{Run: startedRun, Epoch: int64(e)}
	size := s.Peer().Disks[0].Size
	_, err := s.Verify(ctx, 0, at, mirror.Range{Len: min(size, least)}, least)
	if errors.Is(err, mirror.ErrUnknownMark) {
		return nil
	}
	return fmt.Errorf("the secondary does not say that the seal of epoch %d is away: %w", e, err)
}

// acks are the epochs whose seal this side has put away.
type acks struct {
	mu    sync.Mutex
	last  int64 // -1: none
	again chan struct{}
}

func newAcks() *acks { return &acks{last: -1, again: make(chan struct{})} }

func (a *acks) put(e colo.Epoch) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = int64(e)
	close(a.again)
	a.again = make(chan struct{})
}

// reset is for a new session, whose epochs begin anew.
func (a *acks) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = -1
}

var errNotAway = errors.New("the seal is not away")

// await waits for an epoch's.
func (a *acks) await(epoch int64, limit time.Duration) error {
	end := time.NewTimer(limit)
	defer end.Stop()
	for {
		a.mu.Lock()
		last, again := a.last, a.again
		a.mu.Unlock()
		if last >= epoch {
			return nil
		}
		select {
		case <-again:
		case <-end.C:
			return errNotAway
		}
	}
}

// reader shows past states of the disks.
type reader struct{ p *Pair }

// ReadMark reads from the point of a mark.
func (r reader) ReadMark(at mirror.Mark, disk int, buf []byte, off int64) error {
	if at.Run == startedRun {
		if err := r.p.acks.await(at.Epoch, r.p.cfg.Times.HoldTotal); err != nil {
			return err
		}
		return mirror.ErrUnknownMark
	}
	v := r.p.volumes[disk]
	point, ok := v.find(at)
	if !ok {
		return mirror.ErrUnknownMark
	}
	view, err := v.View(point)
	if err != nil {
		return err
	}
	defer view.Close()
	_, err = view.ReadAt(buf, off)
	return err
}
