package guest

import (
	"bufio"
	"fmt"
	"io"
)

// File types in a cpio header's mode.
const (
	modeDir  = 0o040000
	modeFile = 0o100000
	modeLink = 0o120000
)

// cpioWriter writes an archive in the "newc" format, which the kernel unpacks as its first
// root file system (Documentation/driver-api/early-userspace/buffer-format.rst).
type cpioWriter struct {
	w     *bufio.Writer
	inode int
	off   int64
	dirs  map[string]bool
	err   error // the first failure; later calls do nothing
}

func newCPIO(w io.Writer) *cpioWriter {
	return &cpioWriter{w: bufio.NewWriterSize(w, 1<<20), dirs: map[string]bool{"": true}}
}

// dir adds a directory and those above it, each once. Paths have no leading slash.
func (c *cpioWriter) dir(name string) {
	if c.dirs[name] {
		return
	}
	c.dirs[name] = true
	c.dir(parent(name))
	c.entry(name, modeDir|0o755, nil)
}

func (c *cpioWriter) file(name string, perm uint32, data []byte) {
	c.dir(parent(name))
	c.entry(name, modeFile|perm, data)
}

func (c *cpioWriter) link(name, target string) {
	c.dir(parent(name))
	c.entry(name, modeLink|0o777, []byte(target))
}

// close writes the trailer and reports the first error of all calls.
func (c *cpioWriter) close() error {
	c.entry("TRAILER!!!", 0, nil)
	if err := c.w.Flush(); c.err == nil {
		c.err = err
	}
	return c.err
}

func (c *cpioWriter) entry(name string, mode uint32, data []byte) {
	c.inode++
	// Fields: inode, mode, uid, gid, links, time, size, device (2), special device (2),
	// length of the name with its zero byte, checksum (unused in this format).
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		c.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	c.write([]byte(header))
	c.write([]byte(name + "\x00"))
	c.pad()
	c.write(data)
	c.pad()
}

func (c *cpioWriter) write(p []byte) {
	if c.err != nil {
		return
	}
	n, err := c.w.Write(p)
	c.off += int64(n)
	c.err = err
}

// pad aligns the archive to 4 bytes, as names and contents must be.
func (c *cpioWriter) pad() {
	c.write(make([]byte, -c.off&3))
}

func parent(name string) string {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			return name[:i]
		}
	}
	return ""
}
