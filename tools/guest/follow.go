package guest

import (
	"io"
	"os"
	"time"
)

// The serial line goes to a file, not into a pipe from QEMU. QEMU 7.2's serial port waits when a
// pipe is full, and if another state is loaded meanwhile, as at every checkpoint of COLO's
// secondary, it ends with a failed assertion (serial_xmit, UART_LSR_TEMT): seen once, with
// this process held up. A file takes everything at once.

// followEach is how often the file is looked at.
const followEach = 10 * time.Millisecond

// openSerial makes the file that QEMU will write to.
func (vm *VM) openSerial() (*os.File, error) {
	return os.OpenFile(vm.serialPath(), os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// follow copies what is appended to a file, until done and the file's end.
func follow(f *os.File, w io.Writer, done <-chan struct{}) {
	defer f.Close()
	tick := time.NewTicker(followEach)
	defer tick.Stop()
	for ended := false; ; {
		// An error stands for the file's end: there is nobody to tell, and the next look tries again.
		_, _ = io.Copy(w, f)
		if ended {
			return
		}
		select {
		case <-tick.C:
		case <-done:
			ended = true
		}
	}
}
