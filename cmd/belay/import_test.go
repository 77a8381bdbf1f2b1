package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/belay-vm/belay/internal/control"
)

// ram is an offline volume in memory, as far as an import needs one.
type ram struct {
	offline
	disk   []byte
	writes int64 // bytes
	synced bool
}

func (r *ram) Size() int64 { return int64(len(r.disk)) }

func (r *ram) WriteAt(p []byte, off int64) (int, error) {
	r.writes += int64(len(p))
	return copy(r.disk[off:off+int64(len(p))], p), nil
}

func (r *ram) Zero(off, n int64) error { clear(r.disk[off : off+n]); return nil }

func (r *ram) Sync() error { r.synced = true; return nil }

func newRAM(size int) *ram {
	return &ram{disk: bytes.Repeat([]byte{0xee}, size)}
}

func TestFill(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.IntN(255)) + 1
		}
		return b
	}
	for name, tt := range map[string]struct {
		size   int              // of the image
		pieces map[int64][]byte // what is in it
		writes int64            // bytes that must be written at most
	}{
		"all data":         {3 << 20, map[int64][]byte{0: noise(3 << 20)}, 3 << 20},
		"all hole":         {3 << 20, nil, 0},
		"islands":          {3 << 20, map[int64][]byte{5000: noise(100), 2 << 20: noise(4096)}, 8192},
		"odd end":          {(2 << 20) + 777, map[int64][]byte{2 << 20: noise(777)}, 4096},
		"full":             {4 << 20, map[int64][]byte{(4 << 20) - 512: noise(512)}, 4096},
		"one byte":         {1, map[int64][]byte{0: noise(1)}, 4096},
		"zeroes, no holes": {2 << 20, map[int64][]byte{0: make([]byte, 2<<20)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "image"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			want := make([]byte, 4<<20)
			if err := f.Truncate(int64(tt.size)); err != nil {
				t.Fatal(err)
			}
			for off, p := range tt.pieces {
				copy(want[off:], p)
				if _, err := f.WriteAt(p, off); err != nil {
					t.Fatal(err)
				}
			}
			v := newRAM(4 << 20)
			if err := fill(context.Background(), v, &source{f, int64(tt.size)}, (&bar{}).set); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(v.disk, want) {
				t.Error("the disk is not the image with zeroes behind it")
			}
			if v.writes > tt.writes || !v.synced {
				t.Errorf("%d bytes written, %d expected; synced: %v", v.writes, tt.writes, v.synced)
			}
		})
	}
}

func TestFillRefuses(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v := newRAM(4096)
	err = fill(context.Background(), v, &source{f, 4097}, (&bar{}).set)
	if control.CodeOf(err) != control.CodeInvalid || v.disk[0] != 0xee {
		t.Errorf("an image larger than the disk: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := fill(ctx, v, &source{f, 4096}, (&bar{}).set); control.CodeOf(err) != control.CodeInterrupted {
		t.Errorf("an interrupted import: %v", err)
	}
}
