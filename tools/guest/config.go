package guest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Limits of a guest's life when its Config says nothing else.
const (
	defaultBootTimeout    = 2 * time.Minute
	defaultCommandTimeout = 3 * time.Minute
	defaultCPUs           = 2

	// defaultMemoryKiB is half a gigabyte, but no multiple of 256 KiB: for such sizes QEMU
	// 7.2 under TCG clears dirty bits of large ranges without telling the virtual CPUs, and
	// migration loses pages.
	defaultMemoryKiB = 524296
)

// Disk is one vhost-user-blk device. The zero value of all but Socket is QEMU's default.
type Disk struct {
	ID        string // QEMU's name for the device; "disk0" and so on if empty
	Socket    string // where the backend listens
	Queues    int
	QueueSize int
	Packed    bool
}

// Config describes a guest.
type Config struct {
	Disks     []Disk
	CPUs      int
	MemoryKiB int
	Accel     string    // kvm or tcg; found by a probe if empty
	Append    string    // more words for the kernel's command line
	Args      []string  // more arguments for QEMU
	Console   io.Writer // gets the guest's serial line and QEMU's messages, if set
	ImageDir  string    // kernel and initrd; build/guest of the module around if empty
	Ledger    bool      // the guest has the programs ledger and clerk

	Monitors []string // more QMP sockets, for others than this package
	Incoming string   // QEMU waits for a guest from this address, as in "tcp:192.0.2.1:4444"
	Prefix   []string // what runs QEMU, as in "ip netns exec NAME"
	// Migrates says that the guest's RAM will be sent elsewhere while it runs. QEMU 7.2 under
	// TCG needs help with that: see shim/condwait.c.
	Migrates bool

	BootTimeout    time.Duration // from power-on to the agent's hello
	CommandTimeout time.Duration // for Run and for each command to QEMU
}

// withDefaults fills what the caller left open.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.CPUs, defaultCPUs)
	setDefault(&c.MemoryKiB, defaultMemoryKiB)
	setDefault(&c.BootTimeout, defaultBootTimeout)
	setDefault(&c.CommandTimeout, defaultCommandTimeout)
	c.Disks = append([]Disk(nil), c.Disks...)
	for i := range c.Disks {
		setDefault(&c.Disks[i].ID, "disk"+strconv.Itoa(i))
		path, err := filepath.Abs(c.Disks[i].Socket)
		if err != nil {
			return c, err
		}
		if strings.Contains(path, ",") {
			return c, fmt.Errorf("socket path %q: QEMU's options cannot carry a comma", path)
		}
		c.Disks[i].Socket = path
	}
	if c.ImageDir != "" {
		return c, nil
	}
	root, err := moduleRoot()
	c.ImageDir = filepath.Join(root, "build", "guest")
	return c, err
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// moduleRoot is the nearest directory at or above the current one that holds a go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod above the working directory: %w", os.ErrNotExist)
		}
		dir = filepath.Dir(dir)
	}
}

// File descriptors that QEMU inherits: sockets that listen already, so that nobody has to
// wait for QEMU to make them.
const (
	monitorFD = 3
	agentFD   = 4
)

// kernelWords are the kernel's. It does not check that the timer ticks: on a busy machine a translated guest
// may see too few ticks in that time, and gives up (IO-APIC + timer doesn't work).
const kernelWords = "console=ttyS0 loglevel=4 panic=0 no_timer_check"

// arguments is QEMU's command line; serial is the file that gets what the guest prints.
func (c Config) arguments(img image, serial string) []string {
	memory := strconv.Itoa(c.MemoryKiB) + "K"
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "pc,accel=" + c.Accel + ",memory-backend=mem",
		"-cpu", cpuModel(c.Accel), "-smp", strconv.Itoa(c.CPUs), "-m", memory,
		"-object", "memory-backend-memfd,id=mem,share=on,size=" + memory,
		"-kernel", img.kernel, "-initrd", img.initrd,
		"-append", strings.TrimSpace(kernelWords + " " + c.Append),
		"-serial", "file:" + serial,
		"-chardev", fmt.Sprintf("socket,id=mon,server=on,wait=off,fd=%d", monitorFD),
		"-mon", "chardev=mon,mode=control",
		"-chardev", fmt.Sprintf("socket,id=agent,server=on,wait=off,fd=%d", agentFD),
		"-device", "virtio-serial-pci",
		"-device", "virtserialport,chardev=agent,name=belay.agent",
	}
	for _, d := range c.Disks {
		args = append(args,
			"-chardev", fmt.Sprintf("socket,id=%s,path=%s,reconnect=1", d.chardev(), d.Socket),
			"-device", d.option())
	}
	for i, path := range c.Monitors {
		id := "monitor" + strconv.Itoa(i)
		args = append(args,
			"-chardev", fmt.Sprintf("socket,id=%s,path=%s,server=on,wait=off", id, path),
			"-mon", "mode=control,chardev="+id)
	}
	if c.Incoming != "" {
		args = append(args, "-S", "-incoming", c.Incoming)
	}
	return append(args, c.Args...)
}

// cpuModel is a processor with SSE 4.2, which ext4's and fio's checksums want.
func cpuModel(accel string) string {
	if accel == accelKVM {
		return "host"
	}
	return "Nehalem"
}

func (d Disk) chardev() string { return d.ID + "-socket" }

// properties are the device's, as device_add takes them.
func (d Disk) properties() map[string]any {
	p := map[string]any{
		"driver": "vhost-user-blk-pci", "id": d.ID, "chardev": d.chardev(), "packed": d.Packed,
	}
	if d.Queues != 0 {
		p["num-queues"] = d.Queues
	}
	if d.QueueSize != 0 {
		p["queue-size"] = d.QueueSize
	}
	return p
}

// option is the same for the command line.
func (d Disk) option() string {
	packed := "off"
	if d.Packed {
		packed = "on"
	}
	s := fmt.Sprintf("vhost-user-blk-pci,id=%s,chardev=%s,packed=%s", d.ID, d.chardev(), packed)
	if d.Queues != 0 {
		s += ",num-queues=" + strconv.Itoa(d.Queues)
	}
	if d.QueueSize != 0 {
		s += ",queue-size=" + strconv.Itoa(d.QueueSize)
	}
	return s
}
