package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// buildProgram compiles one of the programs beside this package for the guest, which has no libraries of
// Go's or C's for it, and returns its path under dir. A file that would not change stays as it is, with
// its time, by which the image is known.
func buildProgram(dir, name string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(dir, name+"-*.tmp")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	fresh, path := filepath.Join(work, name), filepath.Join(dir, name)
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", fresh, "./tools/guest/"+name)
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the guest's %s: %w: %s", name, err, out)
	}
	made, err := os.ReadFile(fresh)
	if err != nil {
		return "", err
	}
	switch old, err := os.ReadFile(path); {
	case err == nil && bytes.Equal(old, made):
		return path, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	return path, os.Rename(fresh, path)
}
