package guest

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// libraryDirs is where Debian's loader looks, beside what a binary names itself.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/lib"}

// elfFile is what the initrd needs to know of a program or library.
type elfFile struct {
	interp string   // the loader, empty for libraries and static programs
	needed []string // names of libraries
	search []string // directories that the file itself names
}

// readELF returns nil without error for a file that is no ELF object, such as a script.
func readELF(path string) (*elfFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := f.ReadAt(magic, 0); err != nil || string(magic) != elf.ELFMAG {
		return nil, nil // also when it is too short for a magic
	}
	obj, err := elf.NewFile(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return parseELF(obj, filepath.Dir(path))
}

func parseELF(obj *elf.File, origin string) (*elfFile, error) {
	e := &elfFile{}
	for _, p := range obj.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, p.Filesz)
		if _, err := p.ReadAt(name, 0); err != nil {
			return nil, fmt.Errorf("loader's name: %w", err)
		}
		e.interp = string(bytes.TrimRight(name, "\x00"))
	}
	if obj.Section(".dynamic") == nil {
		return e, nil
	}
	var err error
	if e.needed, err = obj.ImportedLibraries(); err != nil {
		return nil, fmt.Errorf("needed libraries: %w", err)
	}
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		paths, err := obj.DynString(tag)
		if err != nil {
			return nil, fmt.Errorf("library path: %w", err)
		}
		for _, dir := range strings.Split(strings.Join(paths, ":"), ":") {
			if dir != "" {
				e.search = append(e.search, strings.ReplaceAll(dir, "$ORIGIN", origin))
			}
		}
	}
	return e, nil
}

// closure finds every library that the programs need, as paths on this machine.
func closure(programs []string) ([]string, error) {
	var found []string
	seen := map[string]bool{}
	queue := append([]string(nil), programs...)
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		e, err := readELF(path)
		if err != nil {
			return nil, err
		}
		if e == nil {
			continue
		}
		libs, err := e.resolve(path)
		if err != nil {
			return nil, err
		}
		for _, lib := range libs {
			if !seen[lib] {
				seen[lib] = true
				found = append(found, lib)
				queue = append(queue, lib)
			}
		}
	}
	return found, nil
}

func (e *elfFile) resolve(path string) ([]string, error) {
	var libs []string
	if e.interp != "" {
		libs = append(libs, e.interp)
	}
	for _, name := range e.needed {
		lib, err := findLibrary(name, append(e.search, libraryDirs...))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		libs = append(libs, lib)
	}
	return libs, nil
}

func findLibrary(name string, dirs []string) (string, error) {
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("library %s: %w", name, os.ErrNotExist)
}

// moduleInfo reads a kernel module's "depends=" list.
func moduleDepends(path string) ([]string, error) {
	obj, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer obj.Close()
	sec := obj.Section(".modinfo")
	if sec == nil {
		return nil, fmt.Errorf("%s: no .modinfo section", path)
	}
	info, err := sec.Data()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, entry := range strings.Split(string(info), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
