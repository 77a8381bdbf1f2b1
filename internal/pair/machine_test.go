package pair

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/qmp/qmptest"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// machine plays a QEMU: a monitor, a front end, a guest, and a process that can be ended.
type machine struct {
	t       *testing.T
	process *exec.Cmd
	monitor *qmptest.Server
	pidfd   *os.File      // what a pair is to know the process by
	gone    chan struct{} // closed when it has ended

	plugged sync.Mutex // guards the setting of what follows
	wire    net.Conn   // of the front end
	front   *vhosttest.FrontEnd
	guest   *guest

	big     sync.Mutex // QEMU's big lock
	runs    bool
	loaded  bool // a migration has become COLO
	left    bool // COLO is over
	waits   bool // for a guest, as with -incoming
	alone   bool // it was told so
	leaving sync.WaitGroup
	asked   atomic.Bool // for a migration
}

// newMachine starts a QEMU without a disk.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, process: exec.Command("cat"), monitor: qmptest.New(t, qmptest.Config{}),
		gone: make(chan struct{})}
	input, err := m.process.StdinPipe() // it ends with us
	must(t, err)
	must(t, m.process.Start())
	fd, err := unix.PidfdOpen(m.process.Process.Pid, 0)
	must(t, err)
	m.pidfd = os.NewFile(uintptr(fd), "pidfd") // closed when nobody has it any more
	go func() {
		_ = m.process.Wait() // killed
		_ = input.Close()
		m.end()
		close(m.gone)
	}()
	t.Cleanup(func() {
		m.kill()
		m.leaving.Wait()
		if m.guest != nil {
			m.guest.close()
			_ = m.front.Close() // its connection is closed already
		}
	})
	m.monitor.Handle("migrate", func(qmptest.Call) (any, *qmptest.Error) {
		m.asked.Store(true)
		return nil, nil
	})
	m.monitor.Handle("query-migrate", func(qmptest.Call) (any, *qmptest.Error) {
		m.big.Lock()
		defer m.big.Unlock()
		status := map[bool]string{false: "active", true: "colo"}[m.loaded]
		return map[string]string{"status": status}, nil
	})
	m.monitor.Handle("query-status", m.status)
	m.monitor.Handle("query-yank", m.instances)
	m.monitor.Handle("yank", m.yank)
	m.monitor.Handle("x-colo-lost-heartbeat", m.heartbeat)
	return m
}

func (m *machine) status(qmptest.Call) (any, *qmptest.Error) {
	m.big.Lock()
	defer m.big.Unlock()
	status := map[bool]string{false: "running", true: "inmigrate"}[m.waits]
	return map[string]any{"status": status, "running": m.runs}, nil
}

func (m *machine) instances(qmptest.Call) (any, *qmptest.Error) {
	m.big.Lock()
	defer m.big.Unlock()
	list := []map[string]string{{"type": "chardev", "id": "disk"}}
	if m.waits {
		list = append(list, map[string]string{"type": "migration"})
	}
	return list, nil
}

// plug connects the disk.
func (m *machine) plug(socket string, salt uint64) {
	m.t.Helper()
	options := vhosttest.Options{MemBytes: 2 << 20, QueueSize: ringSize, Timeout: limit, Inflight: true}
	f, err := vhosttest.Connect(socket, options)
	must(m.t, err)
	m.big.Lock()
	defer m.big.Unlock()
	m.plugged.Lock()
	defer m.plugged.Unlock()
	m.front, m.wire = f, f.Conn()
	m.guest = newGuest(m.t, f, salt)
}

// kill ends the process and waits for that.
func (m *machine) kill() {
	_ = m.process.Process.Kill() // or it has ended already
	<-m.gone
}

// end is what others see of the end.
func (m *machine) end() {
	m.plugged.Lock()
	defer m.plugged.Unlock()
	if m.guest != nil {
		m.guest.pause()
		_ = m.wire.Close()
	}
	m.monitor.Close()
}

// migrates says whether it was told to.
func (m *machine) migrates() bool { return m.asked.Load() }

// again forgets a migration that is over, for the next one.
func (m *machine) again() {
	m.big.Lock()
	defer m.big.Unlock()
	m.asked.Store(false)
	m.loaded, m.left, m.alone = false, false, false
}

// running says whether the guest runs and COLO is over.
func (m *machine) running() bool {
	m.big.Lock()
	defer m.big.Unlock()
	return m.runs && m.alone
}

// boot lets the guest begin.
func (m *machine) boot() {
	m.big.Lock()
	defer m.big.Unlock()
	m.resume()
}

// stop stops the machine as vm_stop() does: the event comes after the answers. False if it ended in that.
// The big lock is held.
func (m *machine) stop() bool {
	m.guest.pause()
	if err := m.front.Stop(); err != nil {
		m.t.Logf("stop: %v", err)
		return false
	}
	m.runs = false
	m.monitor.Event("STOP", nil)
	return true
}

// resume is vm_start(). The big lock is held.
func (m *machine) resume() {
	m.runs = true
	m.monitor.Event("RESUME", nil)
	if err := m.front.Start(); err != nil {
		m.t.Logf("start: %v", err)
		return
	}
	m.guest.resume()
}

// yank with an instance cuts the migration, of both sides.
func (m *machine) yank(call qmptest.Call) (any, *qmptest.Error) {
	if !strings.Contains(string(call.Args), "migration") {
		return nil, nil // a barrier
	}
	m.t.Log("yank")
	m.leaving.Go(func() { m.leave("error") })
	return nil, nil
}

// leave is the end of COLO on this side, once.
func (m *machine) leave(reason string) {
	m.big.Lock()
	defer m.big.Unlock()
	if m.left {
		return
	}
	m.left = true
	m.monitor.Event("COLO_EXIT", map[string]string{"mode": "primary", "reason": reason})
	if m.loaded && !m.runs { // a secondary whose load failed goes on with the memory that it had
		m.resume()
	}
}

// heartbeat has the machine go on alone, for which it is stopped once more.
func (m *machine) heartbeat(qmptest.Call) (any, *qmptest.Error) {
	m.leave("request")
	m.big.Lock()
	defer m.big.Unlock()
	if m.runs && m.stop() {
		m.resume()
	}
	m.alone = true
	return nil, nil
}

// checkpoint is one of COLO, the first one the end of the migration. What it is called with sees both
// machines stand still, when the secondary's has loaded.
func (m *machine) checkpoint(to *machine, still func()) {
	m.t.Helper()
	if !m.halves(to) {
		m.t.Fatal("a machine ended within a checkpoint")
	}
	to.load(m)
	if still != nil {
		still()
	}
	to.guest.resume()
	m.big.Lock()
	defer m.big.Unlock()
	m.loaded = true
	m.resume()
}

// halves is the first half: both stand still, and P's memory may travel.
func (m *machine) halves(to *machine) bool {
	to.big.Lock()
	ok := !to.runs || to.stop()
	to.big.Unlock()
	if !ok {
		return false
	}
	m.big.Lock()
	defer m.big.Unlock()
	return m.stop()
}

// load takes over another machine's memory, and starts the device. Its guest does not run yet.
func (m *machine) load(from *machine) {
	m.t.Helper()
	m.big.Lock()
	defer m.big.Unlock()
	copy(m.front.Memory(), from.front.Memory())
	m.front.Queue(0).SetBase(from.front.Queue(0).Base())
	m.monitor.Event("RESUME", nil)
	must(m.t, m.front.Start())
	m.runs, m.loaded, m.waits = true, true, false
}
