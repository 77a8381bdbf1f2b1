package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// ErrExited says that QEMU is gone although nobody asked it to go.
var ErrExited = errors.New("QEMU exited")

// ErrPanic says that the guest's kernel gave up.
var ErrPanic = errors.New("the guest's kernel panicked")

// VM is a running guest. Its methods may be called from several goroutines.
type VM struct {
	conf    Config
	cmd     *exec.Cmd
	console *console
	monitor *monitor
	agent   *agent
	dir     string // sockets; removed at the end

	done    chan struct{} // closed when QEMU is gone
	exitErr error         // valid after done

	mu  sync.Mutex
	why error // why the guest was killed, if it was
}

// Boot starts a guest and waits until it takes commands. ctx bounds only the boot. A guest that
// comes from elsewhere (Config.Incoming) is not waited for: see TakeOver.
func Boot(ctx context.Context, conf Config) (*VM, error) {
	conf, err := conf.withDefaults()
	if err != nil {
		return nil, err
	}
	img, err := ensureImage(conf.ImageDir, conf.Ledger)
	if err != nil {
		return nil, err
	}
	if conf.Accel == "" {
		conf.Accel = chooseAccel(ctx, conf.ImageDir, img)
	}
	return boot(ctx, conf, img)
}

func boot(ctx context.Context, conf Config, img image) (*VM, error) {
	ctx, cancel := context.WithTimeout(ctx, conf.BootTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "belay-guest-") // short: a socket's path has 107 bytes
	if err != nil {
		return nil, err
	}
	vm := &VM{conf: conf, dir: dir, done: make(chan struct{})}
	vm.console = &console{out: conf.Console, onPanic: func() { vm.kill(ErrPanic) }}
	if err := vm.start(img); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	if err := vm.connect(ctx); err != nil {
		err = vm.explain(err)
		vm.Kill()
		return nil, fmt.Errorf("guest did not boot: %w", err)
	}
	return vm, nil
}

// start runs QEMU with both sockets listening before it begins.
func (vm *VM) start(img image) error {
	if err := vm.prepare(img); err != nil {
		return err
	}
	for _, path := range []string{vm.monitorPath(), vm.agentPath()} {
		f, err := listen(path)
		if err != nil {
			return err
		}
		defer f.Close()
		vm.cmd.ExtraFiles = append(vm.cmd.ExtraFiles, f)
	}
	vm.cmd.Stdout, vm.cmd.Stderr = vm.console, vm.console
	// A guest must not outlive a test that died.
	vm.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	serial, err := vm.openSerial()
	if err != nil {
		return err
	}
	if err := vm.cmd.Start(); err != nil {
		serial.Close()
		return err
	}
	go vm.attend(serial)
	return nil
}

// prepare makes the command: QEMU's, with what has to be around it.
func (vm *VM) prepare(img image) error {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return fmt.Errorf("%w: %w", err, ErrNotSetUp)
	}
	words := append(append([]string(nil), vm.conf.Prefix...), qemu)
	words = append(words, vm.conf.arguments(img, vm.serialPath())...)
	vm.cmd = exec.Command(words[0], words[1:]...)
	if !vm.conf.Migrates || vm.conf.Accel != accelTCG {
		return nil
	}
	shim, err := ensureShim(vm.conf.ImageDir)
	if err != nil {
		return err
	}
	vm.cmd.Env = append(os.Environ(), "LD_PRELOAD="+shim)
	return nil
}

// attend reads the serial line until QEMU is gone.
func (vm *VM) attend(serial *os.File) {
	exited, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		follow(serial, vm.console, exited)
	}()
	vm.exitErr = vm.cmd.Wait()
	close(exited)
	<-read
	os.RemoveAll(vm.dir)
	close(vm.done)
}

// listen returns a listening socket as a file for QEMU.
func listen(path string) (*os.File, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	return l.File()
}

func (vm *VM) monitorPath() string { return filepath.Join(vm.dir, "monitor") }
func (vm *VM) agentPath() string   { return filepath.Join(vm.dir, "agent") }
func (vm *VM) serialPath() string  { return filepath.Join(vm.dir, "serial") }

func (vm *VM) connect(ctx context.Context) error {
	conn, err := net.Dial("unix", vm.agentPath())
	if err != nil {
		return err
	}
	vm.agent = newAgent(conn)
	if vm.monitor, err = dialMonitor(ctx, vm.monitorPath()); err != nil {
		return err
	}
	go vm.hangUp()
	if vm.conf.Incoming != "" {
		return nil
	}
	return vm.agent.waitBoot(ctx, 0)
}

// hangUp frees the connections of a QEMU that is gone.
func (vm *VM) hangUp() {
	<-vm.done
	vm.agent.conn.Close()
	vm.monitor.close()
}

// Accel is what executes the guest's code.
func (vm *VM) Accel() string { return vm.conf.Accel }

// PID is QEMU's process.
func (vm *VM) PID() int { return vm.cmd.Process.Pid }

// Done is closed when QEMU is gone.
func (vm *VM) Done() <-chan struct{} { return vm.done }

// Run executes a shell script in the guest and returns what it wrote to standard output and
// standard error. A script that fails gives an *ExitError.
func (vm *VM) Run(script string) (string, error) {
	ctx, cancel := vm.timeout()
	defer cancel()
	return vm.RunContext(ctx, script)
}

// RunContext is Run with a time limit of the caller's own.
func (vm *VM) RunContext(ctx context.Context, script string) (string, error) {
	out, err := vm.agent.run(ctx, script)
	return out, vm.explain(err)
}

// QMP runs a command of QEMU's monitor; its result is decoded into out, if that is not nil.
func (vm *VM) QMP(command string, args, out any) error {
	ctx, cancel := vm.timeout()
	defer cancel()
	return vm.explain(vm.monitor.run(ctx, command, args, out))
}

// Pause stops the virtual CPUs and with them the disks' rings; Resume starts them.
func (vm *VM) Pause() error  { return vm.QMP("stop", nil, nil) }
func (vm *VM) Resume() error { return vm.QMP("cont", nil, nil) }

func (vm *VM) timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), vm.conf.CommandTimeout)
}

// PowerOff unmounts the guest's disks, switches it off and waits for QEMU to end.
func (vm *VM) PowerOff() error {
	defer vm.Kill() // whatever happens, nothing is left
	ctx, cancel := vm.timeout()
	defer cancel()
	if _, err := vm.RunContext(ctx, unmount); err != nil {
		return err
	}
	if _, _, err := vm.agent.send(ctx, "poweroff -f"); err != nil {
		return vm.explain(err)
	}
	select {
	case <-vm.done:
		return vm.exitErr
	case <-ctx.Done():
		return vm.explain(fmt.Errorf("power-off: %w", ctx.Err()))
	}
}

const unmount = "sync; cd /; if grep -q ' ext4 ' /proc/mounts; then umount -a -t ext4; fi"

// Kill ends QEMU at once, as a power cut ends a machine, and waits for its end.
func (vm *VM) Kill() {
	vm.kill(nil)
	<-vm.done
}

func (vm *VM) kill(why error) {
	vm.mu.Lock()
	if vm.why == nil {
		vm.why = why
	}
	vm.mu.Unlock()
	_ = vm.cmd.Process.Kill() // it may be gone already
}

// Reboot restarts the guest from inside and waits until it takes commands again.
func (vm *VM) Reboot() error {
	return vm.restart(func(ctx context.Context) error {
		if _, err := vm.agent.run(ctx, unmount); err != nil {
			return err
		}
		_, _, err := vm.agent.send(ctx, "reboot -f")
		return err
	})
}

// Reset restarts the guest from outside, unasked.
func (vm *VM) Reset() error {
	return vm.restart(func(ctx context.Context) error {
		return vm.monitor.run(ctx, "system_reset", nil, nil)
	})
}

func (vm *VM) restart(how func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), vm.conf.BootTimeout)
	defer cancel()
	boots := vm.agent.bootCount()
	if err := how(ctx); err != nil {
		return vm.explain(err)
	}
	return vm.explain(vm.agent.waitBoot(ctx, boots))
}

// explain adds to an error what is known of a guest that is gone or silent. An ExitError
// stays as it is: there the guest is well.
func (vm *VM) explain(err error) error {
	var exit *ExitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	vm.mu.Lock()
	why := vm.why
	vm.mu.Unlock()
	if why == nil {
		select {
		case <-vm.done:
			why = ErrExited
		case <-time.After(100 * time.Millisecond): // its sockets close before it is reaped
		}
	}
	if why != nil {
		err = fmt.Errorf("%w: %w", why, err)
	}
	if tail := vm.console.lastLines(); tail != "" {
		err = fmt.Errorf("%w\nconsole:\n%s", err, tail)
	}
	return err
}
