package checkpoint

import "golang.org/x/sys/unix"

// layOut writes zeroes over space that was just reserved. Where they are missing, the first write
// to each place changes the file system's metadata: it is finished by a kernel thread on the CPU
// that took the interrupt, which waits there for up to a tick (4 ms) behind a busy virtual CPU, and
// the next sync has a transaction to commit. So it is done once, in few large writes, and in the
// background before anybody needs the space (keepRoom).
//
// It is for files with direct I/O: others are written by the kernel's write-back anyway.
func (o *osFile) layOut(off, n int64) error {
	const step = 1 << 20
	size := min(n, step)
	zeroes, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return o.wrap("mmap", err)
	}
	for end := off + n; off < end && err == nil; off += size {
		_, err = o.WriteAt(zeroes[:min(size, end-off)], off)
	}
	if failed := unix.Munmap(zeroes); err == nil {
		err = failed
	}
	return err
}
