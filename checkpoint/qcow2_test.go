package checkpoint

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sampleQcow2 is an image of version 2 with clusters of 4 KiB, and the disk in it: a stored
// cluster, one that is missing, two compressed ones, and one that the file's end cuts short.
func sampleQcow2(t testing.TB, backing string) (file, disk []byte) {
	t.Helper()
	const cluster = 4096
	file, disk = make([]byte, 7*cluster), make([]byte, 5*cluster)
	be := binary.BigEndian
	copy(file, qcow2Magic)
	be.PutUint32(file[4:], 2)
	be.PutUint32(file[20:], 12)
	be.PutUint64(file[24:], uint64(len(disk)))
	be.PutUint32(file[36:], 1)
	be.PutUint64(file[40:], cluster)
	if backing != "" {
		be.PutUint64(file[8:], 512)
		be.PutUint32(file[16:], uint32(copy(file[512:], backing)))
	}
	be.PutUint64(file[cluster:], 2*cluster)
	table := file[2*cluster:]
	for i, at := range []int{3 * cluster, 0, 0, 0, 6 * cluster} {
		if at != 0 {
			n := copy(file[at:], bytes.Repeat([]byte{byte(i + 1)}, 1000))
			copy(disk[i*cluster:], file[at:at+n])
			be.PutUint64(table[8*i:], uint64(at))
		}
	}
	for i, at := range map[int]int{2: 4 * cluster, 3: 5 * cluster} {
		plain := disk[i*cluster : (i+1)*cluster]
		copy(plain, bytes.Repeat([]byte("the quick brown fox "), cluster/20))
		var packed bytes.Buffer
		w, err := flate.NewWriter(&packed, 9)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = w.Write(plain); err != nil || w.Close() != nil || packed.Len() > 512 {
			t.Fatal(err, packed.Len())
		}
		copy(file[at:], packed.Bytes())
		be.PutUint64(table[8*i:], 1<<62|uint64(at))
	}
	return file[:6*cluster+1000], disk
}

func openSample(t testing.TB, name string, file []byte) (*base, error) {
	t.Helper()
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return openImage(Dir(filepath.Dir(name)), name, baseQcow2)
}

// A read over many clusters finds what is behind a compressed one.
func TestQcow2ReadAcrossClusters(t *testing.T) {
	file, disk := sampleQcow2(t, "")
	b, err := openSample(t, filepath.Join(t.TempDir(), "image"), file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	for _, n := range []int{512, 3000, 4096, 5000, len(disk)} {
		for off := 0; off+n <= len(disk); off += 512 {
			p := make([]byte, n)
			if _, err := b.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, disk[off:off+n]) {
				t.Fatalf("%d bytes at %d differ: %v", n, off, err)
			}
		}
	}
}

// What a truncated image lost is an error and never zeroes.
func TestQcow2CutAnywhere(t *testing.T) {
	whole, disk := sampleQcow2(t, "")
	name := filepath.Join(t.TempDir(), "image")
	for n := 0; n < 6*4096; n += 256 {
		b, err := openSample(t, name, whole[:n])
		if err != nil {
			continue
		}
		p := make([]byte, len(disk))
		if _, err := b.ReadAt(p, 0); err == nil {
			t.Fatalf("cut at %d: read without an error", n)
		}
		if err := b.close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestQcow2Refused(t *testing.T) {
	be := binary.BigEndian
	for name, edit := range map[string]func(p []byte){
		"version 1":     func(p []byte) { be.PutUint32(p[4:], 1) },
		"version 4":     func(p []byte) { be.PutUint32(p[4:], 4) },
		"clusters":      func(p []byte) { be.PutUint32(p[20:], 40) },
		"disk":          func(p []byte) { be.PutUint64(p[24:], 1<<60) },
		"encrypted":     func(p []byte) { be.PutUint32(p[32:], 1) },
		"huge table":    func(p []byte) { be.PutUint32(p[36:], 1<<31) },
		"small table":   func(p []byte) { be.PutUint64(p[24:], 1<<40) },
		"table outside": func(p []byte) { be.PutUint64(p[40:], 1<<63) },
		"no table":      func(p []byte) { be.PutUint64(p[40:], 0) },
		"no name":       func(p []byte) { be.PutUint64(p[8:], 512) },
		"long backing":  func(p []byte) { be.PutUint64(p[8:], 512); be.PutUint32(p[16:], 1<<31) },
	} {
		file, _ := sampleQcow2(t, "")
		edit(file)
		b, err := openSample(t, filepath.Join(t.TempDir(), "image"), file)
		if err == nil {
			t.Errorf("%s: opened", name)
			err = b.close()
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than a line: %v", name, err)
		}
	}
}

// Backing files lie beside the image; one that is not what it was said to be, or the image itself,
// is refused.
func TestQcow2Backing(t *testing.T) {
	dir := t.TempDir()
	below := bytes.Repeat([]byte("below..."), 4096)
	if err := os.WriteFile(filepath.Join(dir, "raw"), below, 0o600); err != nil {
		t.Fatal(err)
	}
	file, disk := sampleQcow2(t, "raw")
	b, err := openSample(t, filepath.Join(dir, "image"), file)
	if err != nil {
		t.Fatal(err)
	}
	copy(disk[4096:], below[4096:8192])
	p := make([]byte, len(disk))
	if _, err := b.ReadAt(p, 0); err != nil || !bytes.Equal(p, disk) {
		t.Error("with a backing file:", err)
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"self", "missing", "."} {
		file, _ := sampleQcow2(t, name)
		if b, err := openSample(t, filepath.Join(dir, "self"), file); err == nil {
			t.Errorf("backing file %s: opened", name)
			_ = b.close()
		}
	}
}

// FuzzQcow2 reads damaged images: an error is fine, and so is other content; nothing else is.
func FuzzQcow2(f *testing.F) {
	file, disk := sampleQcow2(f, "")
	for i := range 72 {
		p := bytes.Clone(file)
		p[i] ^= 0xff
		f.Add(p)
	}
	f.Add(file)
	name := filepath.Join(f.TempDir(), "image")
	f.Fuzz(func(t *testing.T, file []byte) {
		b, err := openSample(t, name, file)
		if err != nil {
			return
		}
		p := make([]byte, min(b.size, int64(2*len(disk))))
		if _, err := b.ReadAt(p, 0); err != nil && errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
}
