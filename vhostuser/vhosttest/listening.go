package vhosttest

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// Listening reports whether somebody in the network namespace of the process pid listens at the UNIX
// socket path, which is compared with what it was bound to. The file is there a moment before that, and
// a connection to find out would be a front end's.
func Listening(pid int, path string) (bool, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/net/unix", pid))
	if err != nil {
		return false, fmt.Errorf("sockets of process %d: %w", pid, err)
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		const flags, name = 3, 7
		fields := strings.Fields(lines.Text())
		if len(fields) > name && fields[flags] == acceptsConnections && fields[name] == path {
			return true, nil
		}
	}
	return false, nil
}

// acceptsConnections is the kernel's __SO_ACCEPTCON.
const acceptsConnections = "00010000"
