package guest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The accelerators that a guest can have.
const (
	accelKVM = "kvm"
	accelTCG = "tcg"
)

// probeTimeout is far more than a guest needs to boot under KVM.
const probeTimeout = 15 * time.Second

// chooseAccel returns kvm only if a guest really ran under it: there are machines whose
// /dev/kvm opens, and takes every call, and then executes nothing. The verdict is kept with
// the image, for as long as this machine is up.
func chooseAccel(ctx context.Context, dir string, img image) string {
	if choice := os.Getenv("BELAY_ACCEL"); choice != "" {
		return choice
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return accelTCG
	}
	f.Close()
	verdict := filepath.Join(dir, "accel-"+bootID())
	if known, err := os.ReadFile(verdict); err == nil {
		return strings.TrimSpace(string(known))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return accelTCG
	}
	choice := probe(ctx, img)
	if ctx.Err() == nil {
		// Lost at worst: then the next process probes again.
		_ = os.WriteFile(verdict, []byte(choice+"\n"), 0o644)
	}
	return choice
}

func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(id))
}

// probe boots a guest without disks under KVM and has it execute a command.
func probe(ctx context.Context, img image) string {
	conf, err := Config{Accel: accelKVM, ImageDir: filepath.Dir(img.kernel),
		BootTimeout: probeTimeout, CommandTimeout: probeTimeout}.withDefaults()
	if err != nil {
		return accelTCG
	}
	vm, err := boot(ctx, conf, img)
	if err != nil {
		return accelTCG
	}
	defer vm.Kill()
	if _, err := vm.Run("sha256sum /init"); err != nil {
		return accelTCG
	}
	return accelKVM
}
