package checkpoint

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// CreateOptions describe a new volume.
type CreateOptions struct {
	Size        int64  // bytes of the disk, a multiple of 512; 0: that of the base
	Base        string // image under the volume; empty: none
	BaseFormat  string // "raw", "qcow2" or empty: by what is in it
	Data        string // block device for the data; empty: a file in the volume's directory
	Force       bool   // take the device even if it holds something
	Checksums   bool   // keep a checksum of every block of data
	Slack       int    // percent of the used space that may be neither live nor retained; 0: 30
	JournalSize int64  // bytes; 0: 64 MiB
}

const defaultJournal = 64 << 20

// Create makes a volume in a directory, which must be empty or not exist yet. If it fails, it
// leaves nothing behind.
func Create(dir string, o CreateOptions) error {
	made, err := makeDir(dir)
	if err != nil {
		return err
	}
	err = CreateOn(Dir(dir), o)
	if err != nil {
		for _, name := range []string{superblockName, mapName, dataName, journalName} {
			_ = os.Remove(filepath.Join(dir, name))
		}
		if made {
			_ = os.Remove(dir)
		}
		return err
	}
	return syncParent(dir)
}

// makeDir makes the directory if there is none and reports whether it did.
func makeDir(dir string) (made bool, err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err = os.Mkdir(dir, 0o700); err != nil {
			return false, fmt.Errorf("cannot be made: %w", errors.Unwrap(err)) // whoever calls names it
		}
		return true, nil
	case err != nil:
		return false, err
	}
	for _, e := range entries {
		if e.Name() == superblockName {
			return false, fmt.Errorf("volume %s %w", dir, ErrExists)
		}
	}
	if len(entries) > 0 {
		return false, fmt.Errorf("directory %s is not empty", dir)
	}
	return false, nil
}

func syncParent(dir string) error {
	d, err := os.Open(filepath.Dir(filepath.Clean(dir)))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// CreateOn makes the files of a volume. The superblock comes last: before it there is no volume.
func CreateOn(fs FS, o CreateOptions) error {
	sb, err := o.superblock(fs)
	if err != nil {
		return err
	}
	size := o.Size
	if size == 0 {
		size = sb.baseSize
	}
	if err := checkSize(size); err != nil {
		return err
	}
	c := catalog{gen: 1, epoch: 1, line: 1, size: size, branches: []branch{{id: 1}}, nextRun: 0}
	if c.slots, err = createData(fs, o.Data, o.Force); err != nil {
		return err
	}
	if c.start, err = createJournalFile(fs, o.JournalSize, sb.id); err != nil {
		return err
	}
	if sb.catalog, err = createMap(fs, &c); err != nil {
		return err
	}
	f, err := fs.Create(superblockName)
	if err != nil {
		return err
	}
	if err := writeBothSuperblocks(f, sb); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Close(), fs.SyncDir())
}

// checkSize judges the length of a disk, in bytes.
func checkSize(n int64) error {
	if n <= 0 || n > maxDisk || n%sectorSize != 0 {
		return fmt.Errorf("size of %d bytes: must be a multiple of %d, at most %d", n, sectorSize, int64(maxDisk))
	}
	return nil
}

// superblock describes the volume to be made.
func (o *CreateOptions) superblock(fs FS) (*superblock, error) {
	sb := &superblock{generation: 1, created: time.Now().UnixNano(), slack: 30, dataPath: o.Data}
	if _, err := rand.Read(sb.id[:]); err != nil {
		return nil, err
	}
	if o.Slack < 0 || o.Slack > maxSlack {
		return nil, fmt.Errorf("slack of %d percent: must be 1 to %d", o.Slack, maxSlack)
	}
	if o.Slack > 0 {
		sb.slack = uint32(o.Slack)
	}
	if o.Checksums {
		sb.flags |= flagChecksums
	}
	if len(o.Data) > maxDataPath || len(o.Base) > maxBasePath {
		return nil, fmt.Errorf("path of %d bytes: %w", max(len(o.Data), len(o.Base)), ErrTooMany)
	}
	if o.Base == "" {
		return sb, nil
	}
	return sb, o.describeBase(fs, sb)
}

// describeBase notes the image, whose name must hold wherever the volume is opened from.
func (o *CreateOptions) describeBase(fs FS, sb *superblock) error {
	path, err := filepath.Abs(o.Base)
	if err != nil {
		return err
	}
	if sb.base, err = imageFormat(fs, path, o.BaseFormat); err != nil {
		return fmt.Errorf("%w: %w", ErrBase, err)
	}
	b, err := openImage(fs, path, sb.base)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBase, err)
	}
	sb.basePath, sb.baseSize = path, b.size
	return b.close()
}

// imageFormat returns the format that is named, or the one that the file's first bytes show.
func imageFormat(fs FS, path, name string) (baseFormat, error) {
	switch name {
	case "raw":
		return baseRaw, nil
	case "qcow2":
		return baseQcow2, nil
	case "":
	default:
		return 0, fmt.Errorf("image format %q: raw or qcow2", name)
	}
	f, err := fs.Open(path, ReadOnly)
	if err != nil {
		return 0, err
	}
	var magic [4]byte
	n, err := f.ReadAt(magic[:], 0)
	if errors.Is(err, io.EOF) {
		err = nil // its size is judged later
	}
	format := baseRaw
	if string(magic[:n]) == qcow2Magic {
		format = baseQcow2
	}
	return format, errors.Join(err, f.Close())
}

// createData makes the data area and returns its length in slots: that of a device; a file begins
// with none.
func createData(fs FS, device string, force bool) (uint64, error) {
	if device == "" {
		f, err := fs.Create(dataName)
		if err != nil {
			return 0, err
		}
		return 0, errors.Join(f.Sync(), f.Close())
	}
	f, err := fs.Open(device, Direct)
	if err != nil {
		return 0, fmt.Errorf("data area: %w", err)
	}
	slots, err := claimDevice(f, device, force)
	return slots, errors.Join(err, f.Close())
}

// claimDevice returns the slots of a device that nobody has open and that holds nothing yet.
func claimDevice(f File, name string, force bool) (uint64, error) {
	if err := f.Lock(); err != nil {
		return 0, err
	}
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	slots := min(uint64(size)/blockSize, maxSlots)
	if force {
		return slots, nil
	}
	blank, err := isBlank(f, slots)
	if err == nil && !blank {
		err = fmt.Errorf("device %s holds something %w; --force overwrites it", name, ErrExists)
	}
	return slots, err
}

// isBlank looks for content where file systems, partition tables and volumes have it: in the first
// and last MiB, and at places in between.
func isBlank(f File, slots uint64) (bool, error) {
	const ends, between = 256, 64 // slots
	buf := alignedBytes(blockSize)
	for i := uint64(0); i < slots; {
		if _, err := f.ReadAt(buf, int64(i)*blockSize); err != nil {
			return false, err
		}
		if allZero(buf) >= 0 {
			return false, nil
		}
		if i++; i > ends && i+ends < slots {
			i = min(i+slots/between, slots-ends)
		}
	}
	return true, nil
}

func createJournalFile(fs FS, size int64, id [16]byte) (journalStart, error) {
	if size == 0 {
		size = defaultJournal
	}
	f, err := fs.Create(journalName)
	if err != nil {
		return journalStart{}, err
	}
	start, err := createJournal(f, size, id, fs.BootID())
	return start, errors.Join(err, f.Close())
}

// createMap writes the catalog of an empty state.
func createMap(fs FS, c *catalog) (catalogRef, error) {
	f, err := fs.Create(mapName)
	if err != nil {
		return catalogRef{}, err
	}
	c.mapPages = 2 // page 0 is none
	p := encodeCatalog(c)
	image := make([]byte, 2*pageSize)
	copy(image[pageSize:], p)
	at := catalogRef{page: 1, bytes: uint64(len(p)), gen: c.gen, crc: catalogSum(p)}
	_, err = f.WriteAt(image, 0)
	return at, errors.Join(err, f.Sync(), f.Close())
}

// writeBothSuperblocks leaves no copy of the file unwritten, so that one that is not valid is
// always damage.
func writeBothSuperblocks(f File, sb *superblock) error {
	for range 2 {
		sb.sequence++
		if err := writeSuperblock(f, sb); err != nil {
			return err
		}
	}
	return nil
}
