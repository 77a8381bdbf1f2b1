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
	"strings"
)

//go:embed init.sh
var initScript []byte

// ErrNotSetUp says that something is missing that scripts/setup brings.
var ErrNotSetUp = errors.New("not set up: run scripts/setup")

// programs come from this machine. Busybox has simpler forms of some, which lack what the
// tests ask of them.
var programs = []string{
	"fio", "mkfs.ext4", "e2fsck", "resize2fs", "tune2fs", "dumpe2fs",
	"blkdiscard", "fstrim", "flock", "lsblk",
}

// modules are what the guest loads; those that they depend on come along.
var modules = []string{"virtio_pci", "virtio_blk", "virtio_console", "virtio_net"}

// image is the kernel and initrd that guests boot.
type image struct {
	kernel, initrd string
}

// ensureImage returns the image under dir, building its initrd if anything that goes into it
// has changed. Several processes may do so at once: each renames a whole file into place.
// With our own programs it is an image of its own, beside the other.
func ensureImage(dir string, ledger bool) (image, error) {
	img := image{filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initrd")}
	if _, err := os.Stat(img.kernel); err != nil {
		return img, fmt.Errorf("guest kernel: %w: %w", err, ErrNotSetUp)
	}
	parts, err := gather(dir)
	if err != nil {
		return img, err
	}
	if ledger {
		img.initrd += "+ledger"
		for _, name := range []string{"ledger", "clerk"} {
			path, err := buildProgram(dir, name)
			if err != nil {
				return img, err
			}
			parts.programs = append(parts.programs, path)
		}
	}
	key, err := parts.key()
	if err != nil {
		return img, err
	}
	// The key is part of the name, so that a stale initrd is never used.
	old, err := filepath.Glob(img.initrd + "-*")
	if err != nil {
		return img, err
	}
	img.initrd += "-" + key
	for _, path := range old {
		if path == img.initrd {
			return img, nil
		}
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return img, err
		}
	}
	return img, parts.build(img.initrd)
}

// parts are the host files that make an initrd.
type parts struct {
	busybox  string
	programs []string
	libs     []string
	modules  []string // in the order of loading
}

func gather(dir string) (*parts, error) {
	p := &parts{}
	var err error
	if p.busybox, err = findProgram("busybox"); err != nil {
		return nil, err
	}
	for _, name := range programs {
		path, err := findProgram(name)
		if err != nil {
			return nil, err
		}
		p.programs = append(p.programs, path)
	}
	if p.libs, err = closure(append([]string{p.busybox}, p.programs...)); err != nil {
		return nil, err
	}
	p.modules, err = moduleOrder(filepath.Join(dir, "modules"), modules)
	return p, err
}

func findProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	// The administrator's directories are not on every user's PATH.
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("program %s: %w: %w", name, exec.ErrNotFound, ErrNotSetUp)
}

// moduleOrder lists the files of modules and of all they depend on, dependencies first.
// Debian's package holds no modules.dep (its installation makes one), so the modules
// themselves are asked.
func moduleOrder(dir string, names []string) ([]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok && err == nil {
			files[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("kernel modules: %w: %w", err, ErrNotSetUp)
	}
	var order []string
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		path, ok := files[name]
		if !ok {
			return fmt.Errorf("kernel module %s: %w", name, ErrNotSetUp)
		}
		depends, err := moduleDepends(path)
		if err != nil {
			return err
		}
		for _, dep := range depends {
			if err := add(strings.ReplaceAll(dep, "-", "_")); err != nil {
				return err
			}
		}
		order = append(order, path)
		return nil
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// key names the contents: the script's text, and path, size and time of every file.
func (p *parts) key() (string, error) {
	h := sha256.New()
	h.Write(initScript)
	for _, path := range p.files() {
		fi, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, path, fi.Size(), fi.ModTime().UnixNano())
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

func (p *parts) files() []string {
	all := append([]string{p.busybox}, p.programs...)
	all = append(all, p.libs...)
	return append(all, p.modules...)
}

// build writes the initrd, uncompressed: translated code unpacks slowly, and QEMU loads it
// at the speed of memory.
func (p *parts) build(path string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "new-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails after the rename, as it should
	defer tmp.Close()
	c := newCPIO(tmp)
	if err := p.fill(c); err != nil {
		return err
	}
	if err := c.close(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.Rename(tmp.Name(), path)
}

func (p *parts) fill(c *cpioWriter) error {
	for _, name := range []string{"usr/bin", "usr/sbin", "usr/lib", "usr/lib64"} {
		c.dir(name)
		c.link(filepath.Base(name), name)
	}
	for _, name := range []string{"proc", "sys", "dev", "tmp", "mnt", "run", "etc"} {
		c.dir(name)
	}
	c.link("etc/mtab", "/proc/mounts")
	c.file("init", 0o755, initScript)
	if err := copyIn(c, "etc/mke2fs.conf", "/etc/mke2fs.conf"); err != nil {
		return err
	}
	if err := copyIn(c, "usr/bin/busybox", p.busybox); err != nil {
		return err
	}
	if err := p.applets(c); err != nil {
		return err
	}
	for _, path := range p.programs {
		if err := copyIn(c, "usr/bin/"+filepath.Base(path), path); err != nil {
			return err
		}
	}
	for _, path := range p.libs {
		if err := copyIn(c, libraryName(path), path); err != nil {
			return err
		}
	}
	return p.loadList(c)
}

// applets links every busybox command that no real program stands for.
func (p *parts) applets(c *cpioWriter) error {
	out, err := exec.Command(p.busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("%s --list: %w", p.busybox, err)
	}
	real := map[string]bool{"busybox": true}
	for _, path := range p.programs {
		real[filepath.Base(path)] = true
	}
	for _, name := range strings.Fields(string(out)) {
		if !real[name] {
			c.link("usr/bin/"+name, "busybox")
		}
	}
	return nil
}

func (p *parts) loadList(c *cpioWriter) error {
	var order strings.Builder
	for _, path := range p.modules {
		name := filepath.Base(path)
		order.WriteString(strings.TrimSuffix(name, ".ko") + "\n")
		if err := copyIn(c, "modules/"+name, path); err != nil {
			return err
		}
	}
	c.file("modules/order", 0o644, []byte(order.String()))
	return nil
}

// libraryName is a library's place in the guest, where /lib and /lib64 are links into /usr
// as on the host.
func libraryName(path string) string {
	name := strings.TrimPrefix(filepath.Clean(path), "/")
	if !strings.HasPrefix(name, "usr/") {
		name = "usr/" + name
	}
	return name
}

func copyIn(c *cpioWriter, name, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	c.file(name, 0o755, data)
	return nil
}
