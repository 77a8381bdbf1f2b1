package checkpoint

import (
	"errors"
	"fmt"
	"io"
)

// base is the read-only image under a volume: what blocks show that were never written. It is
// never written.
type base struct {
	file File
	size int64
	img  *qcow2Image // nil for a raw image, which lanes read through their engine
}

// openBase opens the image that a superblock names; nil if it names none.
func openBase(fs FS, sb *superblock) (*base, error) {
	if sb.base == baseNone {
		return nil, nil
	}
	b, err := openImage(fs, sb.basePath, sb.base)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBase, err)
	}
	if b.size != sb.baseSize {
		_ = b.close()
		return nil, fmt.Errorf("%w: %s has %d bytes, had %d when the volume was made", ErrBase, sb.basePath,
			b.size, sb.baseSize)
	}
	return b, nil
}

// openImage opens an image file for reading.
func openImage(fs FS, path string, format baseFormat) (*base, error) {
	f, err := fs.Open(path, ReadOnly)
	if err != nil {
		return nil, err
	}
	b := &base{file: f}
	if format == baseRaw {
		b.size, err = f.Size()
	} else if b.img, err = openQcow2(f, path); err == nil {
		b.size = b.img.Size()
	}
	if err == nil && (b.size <= 0 || b.size%sectorSize != 0 || b.size > maxDisk) {
		err = fmt.Errorf("%s has %d bytes: must be a multiple of %d", path, b.size, sectorSize)
	}
	if err != nil {
		_ = b.close() // it was only read
		return nil, err
	}
	return b, nil
}

// covers reports whether the image has the byte at off.
func (b *base) covers(off int64) bool { return b != nil && off < b.size }

// ReadAt reads bytes of the image; beyond its end there are zeroes.
func (b *base) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if off < b.size {
		var err error
		src := io.ReaderAt(b.file)
		if b.img != nil {
			src = b.img
		}
		want := int(min(int64(len(p)), b.size-off))
		n, err = src.ReadAt(p[:want], off)
		if errors.Is(err, io.EOF) {
			err = errShort
		}
		if n < want {
			return n, fmt.Errorf("base image: byte %d: %w", off+int64(n), err)
		}
	}
	clear(p[n:])
	return len(p), nil
}

// start begins a lane's read from the image. A raw image is read by the engine; a qcow2 image on a
// goroutine, because its library waits for the disk.
func (b *base) start(l *lane, o *op, tag uint64) {
	if b.img == nil {
		l.eng.Readv(b.file.Fd(), o.vec, o.off, tag)
		return
	}
	if l.s.background.manual {
		l.over(o, b.fetch(o))
		return
	}
	go func() {
		err := b.fetch(o)
		l.post(func(m *mail) { m.read = append(m.read, arrival{o, err}) })
	}()
}

// fetch brings what an operation asks for into the guest's memory.
func (b *base) fetch(o *op) error {
	p := make([]byte, o.bytes)
	if _, err := b.ReadAt(p, o.off); err != nil {
		return err
	}
	return copyOut(o.vec, 0, p)
}

func (b *base) close() error {
	if b == nil {
		return nil
	}
	var err error
	if b.img != nil {
		err = b.img.Close()
	}
	return errors.Join(err, b.file.Close())
}
