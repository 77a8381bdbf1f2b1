package checkpoint

import (
	"encoding/binary"
	"errors"
	"io"
)

// Limits of the superblock.
const (
	superblockLen = 4096
	maxBasePath   = 1536
	maxDataPath   = 1024
	maxSlack      = 10000 // percent
)

// baseFormat says what kind of image lies under a volume.
type baseFormat uint32

const (
	baseNone baseFormat = iota
	baseRaw
	baseQcow2
)

// flagChecksums: every block of data has a checksum.
const flagChecksums uint32 = 1

// superblock is the root of a volume: what it is, and where its newest snapshot lies. The file
// holds two copies; a change writes the older one and so never touches the valid one.
type superblock struct {
	id         [16]byte
	sequence   uint64 // of superblocks: 1, 2, ...
	generation generation
	created    int64 // nanoseconds since 1970, UTC
	flags      uint32
	slack      uint32 // percent
	catalog    catalogRef

	base     baseFormat
	baseSize int64
	basePath string
	dataPath string // empty: the file "data"
}

// catalogRef names a catalog: whole pages of the map file in a row.
type catalogRef struct {
	page  uint64
	bytes uint64
	gen   uint32
	crc   uint32
}

// superblockOffset is where the superblock with a sequence number goes.
func superblockOffset(sequence uint64) int64 { return int64(sequence%2) * superblockLen }

// Offsets in a copy of the superblock.
const (
	sbID         = 16
	sbSequence   = 32
	sbGeneration = 40
	sbCreated    = 48
	sbFlags      = 56
	sbSlack      = 60
	sbCatalog    = 64
	sbBase       = 88
	sbBaseLen    = 92
	sbBaseSize   = 96
	sbDataLen    = 104
	sbBasePath   = 112
	sbDataPath   = sbBasePath + maxBasePath
	sbEnd        = sbDataPath + maxDataPath
)

// encodeSuperblock returns the superblock's copy. The paths are within their limits.
func encodeSuperblock(b *superblock) []byte {
	le := binary.LittleEndian
	p := make([]byte, superblockLen)
	copy(p[sbID:], b.id[:])
	le.PutUint64(p[sbSequence:], b.sequence)
	le.PutUint64(p[sbGeneration:], uint64(b.generation))
	le.PutUint64(p[sbCreated:], uint64(b.created))
	le.PutUint32(p[sbFlags:], b.flags)
	le.PutUint32(p[sbSlack:], b.slack)
	le.PutUint64(p[sbCatalog:], b.catalog.page)
	le.PutUint64(p[sbCatalog+8:], b.catalog.bytes)
	le.PutUint32(p[sbCatalog+16:], b.catalog.gen)
	le.PutUint32(p[sbCatalog+20:], b.catalog.crc)
	le.PutUint32(p[sbBase:], uint32(b.base))
	le.PutUint32(p[sbBaseLen:], uint32(len(b.basePath)))
	le.PutUint64(p[sbBaseSize:], uint64(b.baseSize))
	le.PutUint32(p[sbDataLen:], uint32(len(b.dataPath)))
	copy(p[sbBasePath:sbDataPath], b.basePath)
	copy(p[sbDataPath:sbEnd], b.dataPath)
	sealHeader(p, magicSuperblock, saltSuperblock)
	return p
}

// decodeSuperblock decodes and validates the copy at byte off of the file.
func decodeSuperblock(p []byte, off int64) (*superblock, error) {
	if len(p) != superblockLen {
		return nil, corrupt(superblockName, off, "length", len(p), superblockLen)
	}
	if err := checkHeader(p, superblockName, off, magicSuperblock, saltSuperblock); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	b := &superblock{
		sequence:   le.Uint64(p[sbSequence:]),
		generation: generation(le.Uint64(p[sbGeneration:])),
		created:    int64(le.Uint64(p[sbCreated:])),
		flags:      le.Uint32(p[sbFlags:]),
		slack:      le.Uint32(p[sbSlack:]),
		catalog: catalogRef{
			page: le.Uint64(p[sbCatalog:]), bytes: le.Uint64(p[sbCatalog+8:]),
			gen: le.Uint32(p[sbCatalog+16:]), crc: le.Uint32(p[sbCatalog+20:]),
		},
		base:     baseFormat(le.Uint32(p[sbBase:])),
		baseSize: int64(le.Uint64(p[sbBaseSize:])),
	}
	copy(b.id[:], p[sbID:])
	return b, b.decodePaths(p, off)
}

// decodePaths completes a superblock with what has a length, and validates the whole.
func (b *superblock) decodePaths(p []byte, off int64) error {
	base := binary.LittleEndian.Uint32(p[sbBaseLen:])
	data := binary.LittleEndian.Uint32(p[sbDataLen:])
	if base > maxBasePath {
		return corrupt(superblockName, off+sbBaseLen, "length of the base's path", base, "at most 1536")
	}
	if data > maxDataPath {
		return corrupt(superblockName, off+sbDataLen, "length of the data path", data, "at most 1024")
	}
	b.basePath = string(p[sbBasePath : sbBasePath+base])
	b.dataPath = string(p[sbDataPath : sbDataPath+data])
	return errors.Join(b.validate(off),
		checkZero(p[sbDataLen+4:sbBasePath], superblockName, off+sbDataLen+4),
		checkZero(p[sbBasePath+base:sbDataPath], superblockName, off+sbBasePath+int64(base)),
		checkZero(p[sbDataPath+data:], superblockName, off+sbDataPath+int64(data)))
}

// validate judges what the checksum cannot: values that no program of this version writes.
func (b *superblock) validate(off int64) error {
	bad := func(at int64, what string, found, want any) error {
		return corrupt(superblockName, off+at, what, found, want)
	}
	switch c := b.catalog; {
	case b.sequence == 0:
		return bad(sbSequence, "sequence", 0, "at least 1")
	case superblockOffset(b.sequence) != off:
		return bad(sbSequence, "sequence", b.sequence, "that of this copy's parity")
	case b.flags&^flagChecksums != 0:
		return bad(sbFlags, "flags", b.flags, "known flags")
	case b.slack > maxSlack:
		return bad(sbSlack, "slack", b.slack, "at most 10000")
	case c.page == 0 || c.bytes == 0 || c.bytes > maxCatalog:
		return bad(sbCatalog, "catalog", c, "a page and a length")
	case b.base > baseQcow2:
		return bad(sbBase, "base format", b.base, "at most 2")
	case (b.base == baseNone) != (b.basePath == "") || b.baseSize < 0 || b.baseSize > maxDisk:
		return bad(sbBase, "base", b.basePath, "a path and a size, or neither")
	}
	return nil
}

// readSuperblock returns the newest valid copy. That it is the newest that was ever written, the
// journal's header tells: see journal.superblockSeen.
func readSuperblock(f File) (*superblock, error) {
	var best *superblock
	var errs [2]error
	for i := range errs {
		off := int64(i) * superblockLen
		p := make([]byte, superblockLen)
		if n, err := f.ReadAt(p, off); errors.Is(err, io.EOF) {
			errs[i] = corrupt(superblockName, off, "length of the copy", n, superblockLen)
			continue
		} else if err != nil {
			return nil, err
		}
		if otherVersion(p, magicSuperblock, saltSuperblock) {
			_, err := decodeSuperblock(p, off)
			return nil, err
		}
		b, err := decodeSuperblock(p, off)
		if errs[i] = err; err == nil && (best == nil || b.sequence > best.sequence) {
			best = b
		}
	}
	if best == nil {
		return nil, worse(errs[0], errs[1])
	}
	return best, nil
}

// worse picks, of the errors of two copies, the one that says more: that this is no volume at
// all is only said when both copies say so.
func worse(a, b error) error {
	if errors.Is(a, ErrNotVolume) {
		return b
	}
	return a
}

// writeSuperblock writes the copy that b's sequence number selects and makes it durable. What it
// names must be durable before.
func writeSuperblock(f File, b *superblock) error {
	if _, err := f.WriteAt(encodeSuperblock(b), superblockOffset(b.sequence)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return poison(err)
	}
	return nil
}
