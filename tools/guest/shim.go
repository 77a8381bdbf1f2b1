package guest

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// shimSource says what it is for.
//
//go:embed shim/condwait.c
var shimSource []byte

// ensureShim returns the path of the compiled shim under dir, compiling it if need be.
func ensureShim(dir string) (string, error) {
	sum := sha256.Sum256(shimSource)
	path := filepath.Join(dir, "condwait-"+hex.EncodeToString(sum[:6])+".so")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	work, err := os.MkdirTemp(dir, "shim-*.tmp")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	source, object := filepath.Join(work, "condwait.c"), filepath.Join(work, "condwait.so")
	if err := os.WriteFile(source, shimSource, 0o644); err != nil {
		return "", err
	}
	out, err := exec.Command("gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", object, source).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("gcc: %w: %s: %w", err, out, ErrNotSetUp)
	}
	return path, os.Rename(object, path)
}
