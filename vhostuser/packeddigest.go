package vhostuser

import "hash/crc32"

// The driver of a packed ring writes to all of it, in its order: behind what it has made available it
// goes on at the next place as soon as it runs. What lies ahead of it is as it was: the chains of the last
// lap, as we gave them back, with the addresses of their buffers. So the half of the ring that the driver
// reaches last tells memories apart, and looks the same at a stop and at the start that follows, as long as
// the driver has not come that far. If it has, nothing can be said.

// digestMargin is how many places a driver may be writing to that do not look available yet: the first of a
// chain, which is offered last, and the one that it is about.
const digestMargin = 2

// content sums the later half of the lap and the device's event suppression area, which only we write.
func (p *packed) content() uint32 {
	size, sum := int(p.size), crc32.Checksum(p.device[:eventAreaLen], digestTable)
	half := size / 2
	at := p.avail.after(half, size)
	for range size - half {
		off := int(at.idx) * descLen
		sum = crc32.Update(sum, digestTable, p.desc[off:off+descLen])
		at = at.after(1, size)
	}
	if p.driven()+digestMargin > half { // looked at behind the sum: it comes no nearer unseen
		return 0
	}
	return sum
}

// driven is how far ahead of us the driver is: up to the last place that looks available.
func (p *packed) driven() int {
	far, at := 0, p.avail
	for n := range int(p.size) {
		if at.available(p.flagsAt(at.idx)) {
			far = n + 1
		}
		at = at.after(1, int(p.size))
	}
	return far
}
