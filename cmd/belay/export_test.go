package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/belay-vm/belay/internal/control"
)

// shelf is a place for volumes with one volume on it.
type shelf struct {
	stores
	v *fragile
}

func (s shelf) Open(string, bool) (offline, error) { return s.v, nil }

// fragile is a volume whose export ends in the middle.
type fragile struct {
	offline
	midway func() error // what happens behind the first piece
	seen   []string     // in the target's directory then
	dir    string
}

func (f *fragile) Close() error { return nil }

func (f *fragile) Status(context.Context) (control.Status, error) {
	return control.Status{Size: 8192}, nil
}

func (f *fragile) Export(ctx context.Context, at string, to control.Sink) error {
	if err := to.Begin(8192); err != nil {
		return err
	}
	if err := to.Data([]byte("half"), 0); err != nil {
		return err
	}
	files, err := os.ReadDir(f.dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		f.seen = append(f.seen, file.Name())
	}
	return f.midway()
}

// What an export leaves when it ends in the middle, for every way in which it can: nothing.
func TestExportEndsMidway(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	damaged := &control.Error{Code: control.CodeCorrupt, Message: "data: corrupt at byte 5"}
	for name, tt := range map[string]struct {
		midway func() error
		line   string
	}{
		"interrupted": {func() error { cancel(); return ctx.Err() }, "belay: vol: context canceled\n"},
		"damage":      {func() error { return damaged }, "belay: vol: data: corrupt at byte 5\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			v := &fragile{midway: tt.midway, dir: dir}
			var out, errs bytes.Buffer
			a := newApp(nil, &out, &errs)
			a.stores = shelf{v: v}
			code := a.run(ctx, []string{"export", "vol", filepath.Join(dir, "disk.raw")})
			if code != 1 || errs.String() != tt.line || out.Len() != 0 {
				t.Errorf("exit code %d, stderr %q, stdout %q", code, errs.String(), out.String())
			}
			if len(v.seen) != 1 || v.seen[0] == "disk.raw" {
				t.Errorf("in the middle there was %q", v.seen)
			}
			if left := names(t, dir); len(left) != 0 {
				t.Errorf("left over: %q", left)
			}
		})
	}
}
