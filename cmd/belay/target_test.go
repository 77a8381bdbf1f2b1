package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/belay-vm/belay/internal/control"
)

// names lists what is in a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		out = append(out, f.Name())
	}
	return out
}

func TestTargetAppearsWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.raw")
	tg, err := openTarget(path, nil, &bar{})
	if err != nil {
		t.Fatal(err)
	}
	defer tg.discard()
	if err := errors.Join(tg.Begin(8192), tg.Data([]byte("x"), 4096)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is there before it is complete: %v", err)
	}
	if err := tg.commit(); err != nil {
		t.Fatal(err)
	}
	tg.discard()
	b, err := os.ReadFile(path)
	if err != nil || len(b) != 8192 || b[4096] != 'x' {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left over: %q", got)
	}
}

func TestTargetDiscarded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.raw")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	tg, err := openTarget(path, nil, &bar{})
	if err != nil {
		t.Fatal(err)
	}
	if err := tg.Begin(8192); err != nil {
		t.Fatal(err)
	}
	tg.discard()
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left over: %q", got)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "old" {
		t.Errorf("the file that was there is %q, %v", b, err)
	}
}

// A link leads to the file that is replaced; the link itself stays one.
func TestTargetBehindLink(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(real, nil, 0o600), os.Symlink("real", link)); err != nil {
		t.Fatal(err)
	}
	tg, err := openTarget(link, nil, &bar{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tg.Begin(512), tg.commit()); err != nil {
		t.Fatal(err)
	}
	st, err := os.Lstat(link)
	if err != nil || st.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link became %v, %v", st, err)
	}
	if st, err := os.Stat(real); err != nil || st.Size() != 512 {
		t.Errorf("behind the link: %v, %v", st, err)
	}
}

func TestTargetRefused(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "data")
	if err := os.WriteFile(own, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"the volume's own": own, "a directory": dir, "a character device": "/dev/null",
		"no such directory": filepath.Join(dir, "none", "out"),
	} {
		if tg, err := openTarget(path, []string{own}, &bar{}); err == nil {
			tg.discard()
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := openTarget(own, []string{own}, &bar{}); control.CodeOf(err) != control.CodeInUse {
		t.Errorf("the volume's own: %v", err)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left over: %q", got)
	}
}
