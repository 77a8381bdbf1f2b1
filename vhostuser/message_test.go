package vhostuser

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestGoldenMessages holds the codec against bytes that were checked by hand.
func TestGoldenMessages(t *testing.T) {
	region := memRegion{guestAddr: 0x1000, size: 0x2000, userAddr: 0x7f00_0000_3000, mmapOffset: 0xc0000}
	var b strings.Builder
	for _, c := range []struct {
		name  string
		bytes []byte
	}{
		{"header", header{reqGetVringBase, flagVersion | flagNeedReply, 8}.append(nil)},
		{"reply header", header{reqGetVringBase, replyFlags, 8}.append(nil)},
		{"vring state", vringState{1, 0x80008000}.append(nil)},
		{"vring address", vringAddr{2, vringLogged, 0x11, 0x22, 0x33, 0x44}.append(nil)},
		{"memory region", region.append(nil)},
		{"memory table", appendTable(nil, []memRegion{region, region})},
		{"log base", logBase{0x4000, 0x1000}.append(nil)},
		{"inflight", inflightDesc{0x840, 0, 1, 128}.append(nil, inflightLen)},
		{"inflight, padded", inflightDesc{0x840, 0, 1, 128}.append(nil, inflightPaddedLen)},
		{"config range", configRange{32, 1, 0}.append(nil)},
	} {
		fmt.Fprintf(&b, "%s: %s\n", c.name, hex.EncodeToString(c.bytes))
	}
	golden(t, "messages.golden", b.String())
}

// TestRows checks the table itself.
func TestRows(t *testing.T) {
	for r, row := range rows {
		switch {
		case row.name == "" || row.minSize > row.maxSize || row.maxSize > maxPayload:
			t.Errorf("request %d: name %q, size %d to %d", r, row.name, row.minSize, row.maxSize)
		case row.minFDs > row.maxFDs || row.maxFDs > maxMessageFDs:
			t.Errorf("%s: %d to %d descriptors", row.name, row.minFDs, row.maxFDs)
		case (row.answer == nil) == (row.handle == nil):
			t.Errorf("%s: want either an answer or a handler", row.name)
		}
	}
}

// FuzzMessage holds every payload to decode, encode, decode being the same as decode.
func FuzzMessage(f *testing.F) {
	for r, row := range rows {
		f.Add(uint32(r), make([]byte, row.minSize))
	}
	f.Add(uint32(reqSetMemTable), appendTable(nil, make([]memRegion, 8)))
	f.Fuzz(func(t *testing.T, r uint32, p []byte) {
		row := rows[request(r)]
		if row == nil || row.check(header{size: uint32(len(p))}, row.minFDs) != nil {
			return
		}
		again := recode(request(r), p)
		if again == nil {
			return
		}
		if !bytes.Equal(again, recode(request(r), again)) {
			t.Fatalf("%s: % x becomes % x", row.name, p, again)
		}
		if len(again) > len(p) || !bytes.Equal(again, p[:len(again)]) && request(r) != reqSetMemTable &&
			request(r) != reqGetInflightFD && request(r) != reqSetInflightFD {
			t.Fatalf("%s: % x is not the beginning of % x", row.name, again, p)
		}
	})
}

// recode decodes a payload and encodes what it means; nil if it has none or is refused.
func recode(r request, p []byte) []byte {
	switch r {
	case reqSetVringNum, reqSetVringBase, reqGetVringBase, reqSetVringEnable:
		return decodeVringState(p).append(nil)
	case reqSetVringAddr:
		return decodeVringAddr(p).append(nil)
	case reqSetLogBase:
		return decodeLogBase(p).append(nil)
	case reqGetInflightFD, reqSetInflightFD:
		return decodeInflight(p).append(nil, len(p))
	case reqAddMemReg, reqRemMemReg:
		return append(p[:8:8], decodeRegion(p[8:]).append(nil)...)
	case reqGetConfig, reqSetConfig:
		c := decodeConfigRange(p)
		if c.check("") != nil {
			return nil
		}
		return c.append(nil)
	case reqSetMemTable:
		rs, err := decodeTable(p)
		if err != nil {
			return nil
		}
		return appendTable(nil, rs)
	}
	return nil
}

// socketPair connects a conn to a socket that the test writes.
func socketPair(t *testing.T) (*conn, *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(file)
		_ = file.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		ends[i] = c.(*net.UnixConn)
	}
	return newConn(ends[0]), ends[1]
}

func countFDs(t *testing.T) int {
	t.Helper()
	es, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(es)
}

// TestReadPieces sends a message in pieces, descriptors with the header and with the payload.
func TestReadPieces(t *testing.T) {
	c, peer := socketPair(t)
	before := countFDs(t)
	p := header{reqSetMemTable, flagVersion, 8}.append(nil)
	p = append(p, make([]byte, 8)...)
	rights := unix.UnixRights(0)
	go func() {
		for i := range p {
			r := rights
			if i != 0 && i != 15 {
				r = nil
			}
			_, _, _ = peer.WriteMsgUnix(p[i:i+1], r, nil)
		}
	}()
	m, err := c.read()
	if err != nil {
		t.Fatal(err)
	}
	if m.name() != "SET_MEM_TABLE" || len(m.payload) != 8 || len(m.fds) != 2 {
		t.Fatalf("%+v", m)
	}
	if fd := m.take(0); fd < 0 || m.take(0) != -1 {
		t.Fatal("a descriptor is handed over once")
	} else {
		closeFD(fd)
	}
	m.close()
	if after := countFDs(t); after != before {
		t.Fatalf("%d descriptors before, %d after", before, after)
	}
}

// TestReadRefuses lists what ends a connection before any handler sees it; no descriptor
// stays open.
func TestReadRefuses(t *testing.T) {
	head := func(r request, flags, size uint32) []byte { return header{r, flags, size}.append(nil) }
	for _, c := range []struct {
		name  string
		bytes []byte
		fds   int
		want  string
	}{
		{"version 2", head(reqSetOwner, 2, 0), 1, "SET_OWNER: flags 0x2"},
		{"a reply", head(reqGetFeatures, replyFlags, 0), 1, "GET_FEATURES: flags 0x5"},
		{"huge payload", head(reqSetOwner, 1, 1<<31), 1, "SET_OWNER: size 0x80000000"},
		{"unknown and huge", head(999, 1, maxPayload+1), 1, "request 999: size"},
		{"long payload", append(head(reqSetVringNum, 1, 9), make([]byte, 9)...), 0, "SET_VRING_NUM: size 0x9"},
		{"short payload", append(head(reqSetVringAddr, 1, 8), make([]byte, 8)...), 0, "SET_VRING_ADDR: size 0x8"},
		{"needless descriptor", head(reqSetOwner, 1, 0), 1, "SET_OWNER: file descriptors 0x1"},
		{"missing descriptor", append(head(reqSetLogBase, 1, 16), make([]byte, 16)...), 0, "SET_LOG_BASE: file"},
		{"nine descriptors", append(head(reqSetMemTable, 1, 8), make([]byte, 8)...), 9, "file descriptors"},
		{"cut header", head(reqSetOwner, 1, 0)[:7], 1, io.ErrUnexpectedEOF.Error()},
		{"cut payload", append(head(reqSetVringNum, 1, 8), 1, 2), 1, io.ErrUnexpectedEOF.Error()},
		{"nothing", nil, 0, "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, peer := socketPair(t)
			before := countFDs(t)
			if len(c.bytes) > 0 {
				rights := unix.UnixRights(make([]int, c.fds)...)
				if _, _, err := peer.WriteMsgUnix(c.bytes, rights, nil); err != nil {
					t.Fatal(err)
				}
			}
			_ = peer.CloseWrite()
			m, err := conn.read()
			if err == nil {
				t.Fatalf("read %+v", m)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q in it", err, c.want)
			}
			if after := countFDs(t); after != before {
				t.Fatalf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

// TestMessageErrorUnwraps shows that the reason can be asked for.
func TestMessageErrorUnwraps(t *testing.T) {
	err := (&message{row: rows[reqSetVringNum]}).bad("num", 70000, errRingSize)
	var me *MessageError
	if !errors.As(err, &me) || me.Value != 70000 || !errors.Is(err, errRingSize) {
		t.Fatalf("%#v", err)
	}
}
