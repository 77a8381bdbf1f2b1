package checkpoint

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// formatVersion is the version of everything that docs/FORMAT.md describes; its ladder of
// versions says what each one introduced.
const formatVersion = 1

// Names of a volume's files.
const (
	superblockName = "superblock"
	journalName    = "journal"
	mapName        = "map"
	dataName       = "data"
)

// Magic numbers: the first eight bytes of the structures that open a file or stand alone.
const (
	magicSuperblock = "BELAYVOL"
	magicJournal    = "BELAYJRN"
	magicCatalog    = "BELAYCAT"
	magicIntent     = "BELAYINT"
	magicPair       = "BELAYPAR"
)

// salt is the value a checksum starts from: another one for each kind of structure, so that
// one kind read in the place of another fails its checksum.
type salt uint32

// Salts of the structures in this package that pages.go does not cover.
const (
	saltSuperblock salt = 0x53555042
	saltJournal    salt = 0x4a484452
	saltChain      salt = 0x4a43484e
	saltTail       salt = 0x4a54414c
	saltCatalog    salt = 0x43544c47
	saltIntent     salt = 0x494e544e
	saltPair       salt = 0x50414952
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum returns the CRC32C of p continued from the salt.
func (s salt) sum(p []byte) uint32 { return crc32.Update(uint32(s), castagnoli, p) }

// sumWord continues a CRC32C with the eight bytes of a little-endian word. (Nothing escapes to
// the heap, as an array given to crc32.Update would.)
func sumWord(crc uint32, w uint64) uint32 {
	crc = ^crc
	for range 8 {
		crc = castagnoli[byte(crc)^byte(w)] ^ crc>>8
		w >>= 8
	}
	return ^crc
}

// payloadSum is the checksum of a block of data, kept in the array of sums.
func payloadSum(p []byte) uint32 { return crc32.Update(0, castagnoli, p) }

// headerLen is what every structure with a magic number begins with: magic 8 bytes, version 4,
// checksum 4 over everything but itself. This never changes, in any version.
const headerLen = 16

// sealHeader writes magic, version and, over all of p, the checksum.
func sealHeader(p []byte, magic string, s salt) {
	copy(p, magic)
	binary.LittleEndian.PutUint32(p[8:], formatVersion)
	binary.LittleEndian.PutUint32(p[12:], headerSum(p, s))
}

// checkHeader judges magic, then version, then checksum. p is a whole structure that lies at
// byte off of a file.
func checkHeader(p []byte, file string, off int64, magic string, s salt) error {
	if len(p) < headerLen {
		return corrupt(file, off, "length", len(p), fmt.Sprint("at least ", headerLen))
	}
	if string(p[:8]) != magic {
		return fmt.Errorf("%s: byte %d: %w: magic is %q, want %q", file, off, ErrNotVolume, p[:8], magic)
	}
	if v := binary.LittleEndian.Uint32(p[8:]); v != formatVersion {
		return fmt.Errorf("%s: byte %d: %w: %d, this program knows %d", file, off, ErrVersion, v, formatVersion)
	}
	if found, want := binary.LittleEndian.Uint32(p[12:]), headerSum(p, s); found != want {
		return corruptSum(file, off, magic, found, want)
	}
	return nil
}

// otherVersion reports whether p is an undamaged structure of a version unknown here, rather
// than one whose version field is damaged.
func otherVersion(p []byte, magic string, s salt) bool {
	return string(p[:8]) == magic && binary.LittleEndian.Uint32(p[8:]) != formatVersion &&
		binary.LittleEndian.Uint32(p[12:]) == headerSum(p, s)
}

// headerSum leaves out the checksum's own four bytes.
func headerSum(p []byte, s salt) uint32 {
	return crc32.Update(s.sum(p[:12]), castagnoli, p[headerLen:])
}

// refLen is the length of a ref on disk.
const refLen = 16

func putRef(p []byte, r ref) {
	binary.LittleEndian.PutUint64(p, r.page)
	binary.LittleEndian.PutUint32(p[8:], r.gen)
	binary.LittleEndian.PutUint32(p[12:], r.crc)
}

func getRef(p []byte) ref {
	le := binary.LittleEndian
	return ref{page: le.Uint64(p), gen: le.Uint32(p[8:]), crc: le.Uint32(p[12:])}
}

// allZero returns the index of the first byte of p that is not zero, or -1.
func allZero(p []byte) int {
	for i, b := range p {
		if b != 0 {
			return i
		}
	}
	return -1
}

// checkZero reports a byte of p, from byte off of a file on, that should be zero.
func checkZero(p []byte, file string, off int64) error {
	if i := allZero(p); i >= 0 {
		return corrupt(file, off+int64(i), "reserved byte", p[i], 0)
	}
	return nil
}

// roundUp8 rounds a length up to the journal's and catalog's unit.
func roundUp8(n int) int { return (n + 7) &^ 7 }
