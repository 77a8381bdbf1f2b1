package vhostuser

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Bounds of what a front end can have mapped here, so that it cannot use up the address space
// (2^47 bytes), without which the process dies at its next allocation. They count from the start
// of a file, as mappings do.
const (
	// maxMapping is for all regions of a table together; while one replaces another there are two.
	maxMapping = uint64(1) << 45
	// maxShared is for each bitmap and inflight region, of which each queue may hold another one.
	maxShared = uint64(1) << 34
)

// maxBlockBytes bounds the block size a file may name: the largest huge page there is.
const maxBlockBytes = uint64(1) << 34

// fileID says which file a descriptor is.
type fileID struct{ dev, ino uint64 }

// mapping is a file mapped shared from its start: mmap_offset need not be aligned to the
// file's page size, so it cannot be left to mmap.
type mapping struct {
	bytes  []byte
	file   fileID
	sealed bool // the file cannot shrink
	heap   bool // a test's memory: nothing to unmap
}

// mapFile maps bytes 0 to offset+size of a memory file that has at least so many.
func mapFile(what string, fd int, offset, size uint64) (*mapping, error) {
	fail := func(err error) (*mapping, error) {
		return nil, &RegionError{What: what, Offset: offset, Size: size, Err: err}
	}
	if !within(offset, size, maxMapping) {
		return fail(ErrLimit)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail(fmt.Errorf("fstat: %w", err))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fail(fmt.Errorf("file mode %#o: %w", st.Mode, ErrNotMemory))
	}
	if offset+size > uint64(st.Size) {
		return fail(fmt.Errorf("file of %d bytes: %w", st.Size, ErrFault))
	}
	// The type of Blksize depends on the architecture.
	length, err := roundToBlock(offset+size, int64(st.Blksize))
	if err != nil {
		return fail(err)
	}
	b, err := unix.Mmap(fd, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		return fail(fmt.Errorf("mmap: %w", err))
	}
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	return &mapping{
		bytes: b, file: fileID{st.Dev, st.Ino},
		sealed: err == nil && seals&unix.F_SEAL_SHRINK != 0,
	}, nil
}

// within reports whether size bytes at offset, at least one, end at or below limit.
func within(offset, size, limit uint64) bool {
	return size > 0 && size <= limit && offset <= limit-size
}

// roundToBlock rounds a length up to the file's block size, which is the huge page size on
// hugetlbfs: munmap refuses a part of a huge page.
func roundToBlock(n uint64, blockSize int64) (int, error) {
	block := uint64(blockSize)
	if block == 0 || block&(block-1) != 0 || block > maxBlockBytes {
		return 0, fmt.Errorf("file block size %d: %w", blockSize, ErrLimit)
	}
	return int((n + block - 1) &^ (block - 1)), nil
}

// identify tells which file a descriptor is.
func identify(fd int) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fileID{}, fmt.Errorf("fstat: %w", err)
	}
	return fileID{st.Dev, st.Ino}, nil
}

// contains reports whether addr is mapped here. nil-safe.
func (m *mapping) contains(addr uintptr) bool {
	return m != nil && addr-addressOf(m.bytes) < uintptr(len(m.bytes))
}

// unmap gives the address space back. Munmap fails only for a range that is not mapped, so
// there is nothing to report.
func (m *mapping) unmap() {
	if m != nil && !m.heap {
		_ = unix.Munmap(m.bytes)
	}
}
