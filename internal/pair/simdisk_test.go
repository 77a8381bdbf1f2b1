package pair

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/colo/sim"
	"github.com/belay-vm/belay/internal/disktest"
)

// simBlock is the size of a guest's block, in bytes.
const simBlock = 4096

// simFS is a disk that lies as a store sees it.
type simFS struct{ *disktest.Disk }

type simFile struct{ *disktest.File }

func (d simFS) Create(name string) (checkpoint.File, error) { return simOpened(d.Disk.Create(name)) }

func (d simFS) Open(name string, m checkpoint.Mode) (checkpoint.File, error) {
	return simOpened(d.Disk.Open(name, m&checkpoint.ReadOnly != 0, m&checkpoint.Direct != 0))
}

func simOpened(f *disktest.File, err error) (checkpoint.File, error) {
	if err != nil {
		return nil, err
	}
	return simFile{f}, nil
}

func (f simFile) Lock() error {
	err := f.File.Lock()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%w: %w", checkpoint.ErrLocked, err)
	}
	return err
}

// newSimDisk is an empty volume.
func newSimDisk(seed uint64) (*disktest.Disk, error) {
	d := disktest.New(seed)
	o := checkpoint.CreateOptions{Size: sim.Blocks * simBlock, JournalSize: 192 << 10}
	if err := checkpoint.CreateOn(simFS{d}, o); err != nil {
		return nil, err
	}
	return d, nil
}

// simBuffer is for one reader at a time: all are on the world's goroutine.
var simBuffer = make([]byte, sim.Blocks*simBlock)

// simContent reads what each block of a disk holds; an error if that is no write as a whole.
func simContent(s *checkpoint.Store) (tags [sim.Blocks]uint64, err error) {
	p := simBuffer
	if _, err := s.ReadAt(p, 0); err != nil {
		return tags, err
	}
	for b := range tags {
		block := p[b*simBlock:][:simBlock]
		tags[b] = binary.LittleEndian.Uint64(block)
		for at := 8; at < simBlock; at += 8 {
			if got := binary.LittleEndian.Uint64(block[at:]); got != tags[b] {
				return tags, fmt.Errorf("block %d is %x at its begin and %x at byte %d", b, tags[b], got, at)
			}
		}
	}
	return tags, nil
}

// simWrite writes a block.
func simWrite(s *checkpoint.Store, block int, tag uint64) error {
	if sim.Shows(tag) == 0 {
		return s.Zero(int64(block)*simBlock, simBlock)
	}
	p := make([]byte, simBlock)
	for at := 0; at < simBlock; at += 8 {
		binary.LittleEndian.PutUint64(p[at:], tag)
	}
	_, err := s.WriteAt(p, int64(block)*simBlock)
	return err
}
