package pair

import (
	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/mirror"
)

// ringDigests are the machine's digests as a seal carries them.
func ringDigests(d colo.Digests) []mirror.RingDigest {
	list := make([]mirror.RingDigest, 0, len(d))
	for r, digest := range d {
		list = append(list, mirror.RingDigest{
			Disk: uint16(r.Disk), Queue: uint16(r.Queue), Digest: uint64(digest),
		})
	}
	return list
}

// digestsOf is its inverse.
func digestsOf(list []mirror.RingDigest) colo.Digests {
	d := colo.Digests{}
	for _, r := range list {
		d[colo.Ring{Disk: int(r.Disk), Queue: int(r.Queue)}] = colo.Digest(r.Digest)
	}
	return d
}

// reader shows past states of the disks.
type reader struct{ p *Pair }

// ReadMark reads from the point of a mark.
func (r reader) ReadMark(at mirror.Mark, disk int, buf []byte, off int64) error {
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
