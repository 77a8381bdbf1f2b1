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
