package guest

import (
	"bytes"
	"io"
	"sync"
)

// consoleTail is how much of the console an error report can quote.
const consoleTail = 16 << 10

// panicText is the kernel's last line before it hangs.
const panicText = "Kernel panic - not syncing"

// console collects the guest's serial line: it passes everything on to a writer, keeps the
// tail, and calls onPanic once when the kernel gives up.
type console struct {
	onPanic func()

	mu       sync.Mutex
	out      io.Writer // may be nil
	tail     []byte
	panicked bool
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out != nil {
		_, _ = c.out.Write(p) // a log that cannot be written must not stop the guest
	}
	c.tail = append(c.tail, p...)
	if len(c.tail) > consoleTail {
		c.tail = append([]byte(nil), c.tail[len(c.tail)-consoleTail:]...)
	}
	if !c.panicked && bytes.Contains(c.tail, []byte(panicText)) {
		c.panicked = true
		c.onPanic()
	}
	return len(p), nil
}

// lastLines is the tail's end, for error texts.
func (c *console) lastLines() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := bytes.Split(bytes.TrimSpace(c.tail), []byte("\n"))
	if len(lines) > 25 {
		lines = lines[len(lines)-25:]
	}
	return string(bytes.Join(lines, []byte("\n")))
}
