package bpf

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

// The committed objects are those that scripts/generate makes. Another clang makes others, which
// then must at least load.
func TestGenerated(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "c"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("../scripts/generate", dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("scripts/generate: %v\n%s", err, out)
	}
	same := bytes.Equal(contents(t, "c/CLANG"), contents(t, filepath.Join(dir, "c/CLANG")))
	made, err := filepath.Glob(filepath.Join(dir, "*_bpfel.*"))
	if err != nil || len(made) != 8 {
		t.Fatalf("%v, %q made", err, made)
	}
	for _, name := range made {
		switch base := filepath.Base(name); {
		case same && !bytes.Equal(contents(t, base), contents(t, name)):
			t.Errorf("%s is not what its source says: run make generate", base)
		case !same && strings.HasSuffix(name, ".o"):
			loads(t, name)
		}
	}
	loads(t, filepath.Join(dir, "kernel_bpfel.o"))
}

func contents(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func loads(t *testing.T, object string) {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatalf("%s: %v", object, err)
	}
	coll.Close()
}
