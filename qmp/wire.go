package qmp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// MaxLine is the longest line that a Link takes, in bytes. The largest answer that QEMU 7.2
// gives is that to query-qmp-schema, some 200 KiB.
const MaxLine = 4 << 20

const (
	maxExcerpt = 60  // bytes of foreign text in an error
	maxID      = 40  // bytes of an answer's id; ours are numbers
	maxName    = 256 // bytes of an event's name
)

// Version is what a greeting says of QEMU (qapi/control.json: VersionInfo).
type Version struct {
	QEMU struct {
		Major int `json:"major"`
		Minor int `json:"minor"`
		Micro int `json:"micro"`
	} `json:"qemu"`
	Package string `json:"package"` // the distribution's, for people
}

func (v Version) String() string {
	return fmt.Sprintf("%d.%d.%d", v.QEMU.Major, v.QEMU.Minor, v.QEMU.Micro)
}

// message is any line that QEMU sends: exactly one of greeting, event, result and error.
type message struct {
	QMP   *greeting       `json:"QMP"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
	Stamp *struct {
		Seconds      int64 `json:"seconds"`
		Microseconds int64 `json:"microseconds"`
	} `json:"timestamp"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	ID json.RawMessage `json:"id"`
}

type greeting struct {
	Version      Version  `json:"version"`
	Capabilities []string `json:"capabilities"`
}

// decodeLine judges one line of QEMU's. The message keeps nothing of line.
func decodeLine(line []byte) (*message, error) {
	m := &message{}
	if err := json.Unmarshal(line, m); err != nil {
		return nil, fmt.Errorf("%w: %w in %s", ErrFault, err, excerpt(line))
	}
	kinds := 0
	for _, is := range []bool{m.QMP != nil, m.Event != "", m.Return != nil, m.Error != nil} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return nil, fmt.Errorf("%w: neither event nor answer: %s", ErrFault, excerpt(line))
	case len(m.ID) > maxID:
		return nil, fmt.Errorf("%w: an id of %d bytes", ErrFault, len(m.ID))
	case len(m.Event) > maxName:
		return nil, fmt.Errorf("%w: an event's name of %d bytes", ErrFault, len(m.Event))
	}
	return m, nil
}

// isReply reports whether the message answers a command.
func (m *message) isReply() bool { return m.Return != nil || m.Error != nil }

// event is the message as one; only for those that are.
func (m *message) event() Event {
	e := Event{Name: m.Event, Data: m.Data}
	if s := m.Stamp; s != nil && s.Seconds >= 0 { // QEMU says -1 where it has no clock
		e.At = time.Unix(s.Seconds, s.Microseconds*int64(time.Microsecond))
	}
	return e
}

// result unpacks an answer into out, if that is not nil, or returns QEMU's refusal.
func (m *message) result(command string, out any) error {
	if m.Error != nil {
		return &CommandError{Command: command, Class: m.Error.Class, Desc: m.Error.Desc}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(m.Return, out); err != nil {
		return fmt.Errorf("QMP %s: unexpected answer: %w", command, err)
	}
	return nil
}

// request is a line of ours. Exactly one of Execute and OOB is set.
type request struct {
	Execute string `json:"execute,omitempty"`
	OOB     string `json:"exec-oob,omitempty"`
	Args    any    `json:"arguments,omitempty"`
	ID      uint64 `json:"id,omitempty"`
}

// lines reads a connection by lines of at most max bytes, without the ends of lines.
type lines struct {
	scanner *bufio.Scanner
	max     int
}

func newLines(r io.Reader, max int) *lines {
	l := &lines{bufio.NewScanner(r), max}
	l.scanner.Buffer(nil, max+2) // CR, LF
	l.scanner.Split(wholeLines)
	return l
}

// next returns a line that is valid until the next call.
func (l *lines) next() ([]byte, error) {
	if l.scanner.Scan() {
		return l.scanner.Bytes(), nil
	}
	err := l.scanner.Err()
	switch {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("%w: a line of more than %d bytes", ErrFault, l.max)
	case err == nil:
		err = io.EOF
		fallthrough
	default:
		return nil, fmt.Errorf("%w: %w", ErrGone, err)
	}
}

// wholeLines is a bufio.SplitFunc that takes the rest at the end for what it is: cut off.
func wholeLines(data []byte, atEOF bool) (int, []byte, error) {
	if n, line, _ := bufio.ScanLines(data, false); n > 0 {
		return n, line, nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
}

// readGreeting takes QMP's first line, by which it is told from what else may listen.
func readGreeting(l *lines) (*greeting, []byte, error) {
	line, err := l.next()
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil, nil, fmt.Errorf("%w: no greeting (it serves one client at a time: is "+
			"another one connected?)", ErrTimeout)
	case errors.Is(err, ErrFault):
		return nil, nil, fmt.Errorf("%w: its first line does not end", ErrNotQMP)
	case err != nil:
		return nil, nil, err
	}
	m, err := decodeLine(line)
	switch {
	case err == nil && m.QMP != nil:
		return m.QMP, line, nil
	case strings.TrimSpace(string(line)) == "{":
		return nil, nil, fmt.Errorf("%w of one message a line: start QEMU without pretty=on", ErrNotQMP)
	case bytes.HasPrefix(line, []byte("QEMU ")):
		return nil, nil, fmt.Errorf("%w: it is QEMU's monitor for people (-monitor instead of -qmp)", ErrNotQMP)
	}
	return nil, nil, fmt.Errorf("%w: it greets with %s", ErrNotQMP, excerpt(line))
}

// excerpt makes foreign text fit for an error of one line.
func excerpt(text []byte) string {
	if len(text) > maxExcerpt {
		return fmt.Sprintf("%q…", text[:maxExcerpt])
	}
	return fmt.Sprintf("%q", text)
}
