package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	qcow2image "github.com/lima-vm/go-qcow2reader/image"
	"github.com/lima-vm/go-qcow2reader/image/qcow2"
	"github.com/lima-vm/go-qcow2reader/image/raw"
	qcow2log "github.com/lima-vm/go-qcow2reader/log"
)

// Limits of a qcow2 base; offsets are those of QEMU's docs/interop/qcow2.txt.
const (
	qcow2Magic     = "QFI\xfb"
	qcow2HeadLen   = 104
	qcow2Corrupt   = 1 << 1   // incompatible features: somebody found the image damaged
	qcow2Extended  = 1 << 4   // incompatible features: entries of 16 bytes in level 2
	maxQcow2L1     = 32 << 17 // entries: 32 MiB, as in QEMU
	maxQcow2Chain  = 32       // files, with the image itself
	minClusterBits = 9
	maxClusterBits = 21
)

var (
	errQcow2Cut   = errors.New("the file ends before the data that it names")
	quietenReader = sync.OnceFunc(func() { qcow2log.SetWarnFunc(nil) }) // it logs to stderr
)

// qcow2Image is an image with the backing files below it. The library that reads them trusts what
// it reads: headers are judged before it sees them, and a panic of it is an error of the image.
type qcow2Image struct {
	top     qcow2image.Image
	cluster int64
	files   []io.Closer // the backing files
	layers  int
}

// openQcow2 opens an image. The caller closes the file after the image.
func openQcow2(f File, path string) (*qcow2Image, error) {
	quietenReader()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	q := &qcow2Image{}
	err = guarded(func() (err error) {
		q.top, err = q.layer(f, size, path)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("qcow2 image %s: %w", path, err), q.Close())
	}
	return q, nil
}

// layer opens one qcow2 file of the chain.
func (q *qcow2Image) layer(f io.ReaderAt, size int64, path string) (qcow2image.Image, error) {
	if q.layers++; q.layers > maxQcow2Chain {
		return nil, fmt.Errorf("more than %d backing files", maxQcow2Chain-1)
	}
	cluster, err := checkQcow2(f, size)
	if err != nil {
		return nil, err
	}
	if q.cluster == 0 {
		q.cluster = cluster
	}
	whole := &clusterFile{file: f, path: path, size: size, end: (size + cluster - 1) &^ (cluster - 1)}
	img, err := qcow2.Open(whole, q.backing)
	if err != nil {
		return nil, err
	}
	return img, img.Readable()
}

// backing opens a backing file for the library, which closes even what could not be opened.
func (q *qcow2Image) backing(ra io.ReaderAt, format qcow2image.Type) (qcow2image.Image, error) {
	f, ok := ra.(*os.File)
	if !ok {
		return noImage{}, fmt.Errorf("unexpected backing file %T", ra)
	}
	q.files = append(q.files, f)
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = errors.New("it is a directory")
	}
	if err != nil {
		return noImage{}, err
	}
	size, err := f.Seek(0, io.SeekEnd) // of a device too
	if err != nil {
		return noImage{}, err
	}
	var magic [4]byte
	if n, _ := f.ReadAt(magic[:], 0); format == "" {
		if format = raw.Type; string(magic[:n]) == qcow2Magic {
			format = qcow2.Type
		}
	}
	var img qcow2image.Image
	switch format {
	case qcow2.Type:
		img, err = q.layer(f, size, f.Name())
	case raw.Type:
		img, err = raw.Open(f)
	default:
		err = fmt.Errorf("its format is neither raw nor qcow2")
	}
	if err != nil {
		return noImage{}, err
	}
	return img, nil
}

// noImage stands for a backing file that cannot be opened.
type noImage struct{ qcow2image.Image }

func (noImage) Close() error { return nil }

// checkQcow2 judges what the library would take as it comes, and returns the length of a cluster.
func checkQcow2(f io.ReaderAt, size int64) (int64, error) {
	var p [qcow2HeadLen]byte
	if n, err := f.ReadAt(p[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	} else if n < len(p) || string(p[:4]) != qcow2Magic {
		return 0, errors.New("it does not begin like one")
	}
	be := binary.BigEndian
	version, bits := be.Uint32(p[4:]), be.Uint32(p[20:])
	switch {
	case version != 2 && version != 3:
		return 0, fmt.Errorf("version %d is not supported", version)
	case bits < minClusterBits || bits > maxClusterBits:
		return 0, fmt.Errorf("clusters of 2^%d bytes", bits)
	}
	perTable := uint64(1) << (bits - 3)
	if version == 3 {
		features := be.Uint64(p[72:])
		if features&qcow2Corrupt != 0 {
			return 0, errors.New("it is marked as corrupt")
		}
		if features&qcow2Extended != 0 {
			perTable /= 2
		}
	}
	disk, entries, at := be.Uint64(p[24:]), uint64(be.Uint32(p[36:])), be.Uint64(p[40:])
	covered := perTable << bits
	switch {
	case disk > maxDisk:
		return 0, fmt.Errorf("a disk of %d bytes, which is more than %d", disk, int64(maxDisk))
	case entries > maxQcow2L1 || entries < (disk+covered-1)/covered:
		return 0, fmt.Errorf("a level 1 table of %d entries for a disk of %d bytes", entries, disk)
	case at > uint64(size) || 8*entries > uint64(size)-at:
		return 0, errQcow2Cut
	}
	return 1 << bits, nil
}

// Size is the length of the disk in the image.
func (q *qcow2Image) Size() int64 { return q.top.Size() }

// ReadAt reads a part of the disk, cluster by cluster: the library ends a read after a compressed
// cluster with io.EOF, and what comes next would be missing.
func (q *qcow2Image) ReadAt(p []byte, off int64) (n int, err error) {
	err = guarded(func() error {
		for n < len(p) {
			at := off + int64(n)
			piece := p[n:min(int64(len(p)), int64(n)+q.cluster-at%q.cluster)]
			got, err := q.top.ReadAt(piece, at)
			n += max(got, 0)
			switch {
			case err != nil && !errors.Is(err, io.EOF):
				return err
			case got <= 0:
				return fmt.Errorf("byte %d of the disk: %w", at, errQcow2Cut)
			}
		}
		return nil
	})
	return n, err
}

// Close closes the backing files.
func (q *qcow2Image) Close() error {
	var errs []error
	for _, f := range q.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// guarded turns a panic of the library into an error.
func guarded(work func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("damaged: %v", r)
		}
	}()
	return work()
}

// clusterFile reads a qcow2 file in whole clusters. The last one may be cut short, as QEMU writes no
// more of it than it must: the rest is zeroes. What a table finds behind that is not there, and
// must not pass for zeroes.
type clusterFile struct {
	file      io.ReaderAt
	path      string
	size, end int64
}

// Name lets the library find backing files, whose names are relative to the image's directory.
func (f *clusterFile) Name() string { return f.path }

func (f *clusterFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errQcow2Cut
	}
	n := 0
	if off < f.size {
		var err error
		n, err = f.file.ReadAt(p[:min(int64(len(p)), f.size-off)], off)
		if err != nil && (!errors.Is(err, io.EOF) || n < len(p) && off+int64(n) < f.size) {
			return n, err
		}
	}
	if at := off + int64(n); n < len(p) && at < f.end {
		pad := p[n:min(int64(len(p)), int64(n)+f.end-at)]
		clear(pad)
		n += len(pad)
	}
	if n < len(p) {
		return n, errQcow2Cut
	}
	return n, nil
}
