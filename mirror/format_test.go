package mirror

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"reflect"
	"testing"
	"time"
)

// wire is a connection from which given bytes are read.
type wire struct {
	net.Conn
	r io.Reader
}

func (w *wire) Read(p []byte) (int, error)      { return w.r.Read(p) }
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// parse reads one frame, whose number is seq, and checks its content.
func parse(b []byte, seq uint32) (frame, []Piece, error) {
	c := newConn(&wire{r: bytes.NewReader(b)}, time.Second, nil)
	c.readSeq = seq
	f, err := c.read()
	if err != nil {
		return f, nil, err
	}
	var list []Piece
	switch b := f.body.(type) {
	case *data:
		list, err = pieces(f, b.extents)
	case *syncData:
		list, err = pieces(f, b.extents)
	}
	return f, list, err
}

func TestEveryKindHasAnExample(t *testing.T) {
	seen := map[Kind]bool{}
	for _, e := range examples() {
		seen[e.kind] = true
	}
	for k := Kind(1); k < kinds; k++ {
		if !seen[k] || bodies[k] == nil || rows[k].name == "" {
			t.Errorf("%v lacks an example or a row", k)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for _, e := range examples() {
		f, list, err := parse(e.encode(), 5)
		if err != nil {
			t.Fatalf("%v: %v", e.kind, err)
		}
		if !reflect.DeepEqual(f.body, e.body) || int(f.disk) != e.disk || f.generation != 3 {
			t.Errorf("%v: got %+v, want %+v", e.kind, f.body, e.body)
		}
		var content []byte
		for _, p := range list {
			content = append(content, p.Data...)
		}
		if !bytes.Equal(content, e.bulk) {
			t.Errorf("%v: other content", e.kind)
		}
	}
	h := exampleHello()
	got, err := readHello(bytes.NewReader(h.encode()))
	h.Oldest, h.Newest = oldestVersion, newestVersion
	if err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("hello: got %+v, %v, want %+v", got, err, h)
	}
}

// known says that an error is one of those that a peer's bytes may cause.
func known(err error) bool {
	for _, want := range []error{ErrFormat, ErrChecksum, ErrSequence, ErrNotMirror, ErrVersion,
		io.ErrUnexpectedEOF, io.EOF} {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}

func TestEveryFlippedByteIsFound(t *testing.T) {
	for _, e := range examples() {
		b := e.encode()
		for i := range b {
			b[i] ^= 0x11
			if _, _, err := parse(b, 5); !known(err) {
				t.Fatalf("%v: byte %d flipped: %v", e.kind, i, err)
			}
			b[i] ^= 0x11
		}
	}
	h := exampleHello()
	b := h.encode()
	for i := range b {
		b[i] ^= 0x11
		if _, err := readHello(bytes.NewReader(b)); !known(err) {
			t.Fatalf("hello: byte %d flipped: %v", i, err)
		}
		b[i] ^= 0x11
	}
}

func TestEveryCutIsFound(t *testing.T) {
	for _, e := range examples() {
		b := e.encode()
		for n := range b {
			if _, _, err := parse(b[:n], 5); !known(err) {
				t.Fatalf("%v: cut at %d: %v", e.kind, n, err)
			}
		}
	}
	h := exampleHello()
	b := h.encode()
	for n := range b {
		if _, err := readHello(bytes.NewReader(b[:n])); !known(err) {
			t.Fatalf("hello: cut at %d: %v", n, err)
		}
	}
}

// TestLiesWithRightChecksums changes each byte and makes the checksum right again: what decodes
// must encode to the same bytes, everything else is a FrameError.
func TestLiesWithRightChecksums(t *testing.T) {
	for _, e := range examples() {
		good := e.encode()
		for i := range good[:len(good)-len(e.bulk)] {
			for _, v := range []byte{0, 1, 0x7f, 0x80, 0xff, good[i] + 1} {
				b := bytes.Clone(good)
				b[i] = v
				lawful(t, b)
			}
		}
	}
}

// lawful repairs a frame's checksum and holds the decoder to its law.
func lawful(t *testing.T, b []byte) {
	t.Helper()
	meta := int(binary.LittleEndian.Uint32(b[8:]))
	if meta > len(b)-headerLen {
		meta = len(b) - headerLen
	}
	binary.LittleEndian.PutUint32(b[28:], frameSum(b[:headerLen], b[headerLen:headerLen+meta]))
	f, _, err := parse(b, binary.LittleEndian.Uint32(b[24:]))
	if err != nil {
		if !known(err) {
			t.Fatalf("%x: %v", b, err)
		}
		return
	}
	again := f.body.encode(nil)
	raw := make([]byte, headerLen)
	f.header.encode(raw, again)
	if got := append(raw, again...); !bytes.Equal(got, b[:len(got)]) {
		t.Fatalf("decoded %x\nencodes to %x", b, got)
	}
}

func TestSequence(t *testing.T) {
	b := examples()[2].encode()
	if _, _, err := parse(b, 4); !errors.Is(err, ErrSequence) {
		t.Fatal(err)
	}
}

func TestHelloJudgesInOrder(t *testing.T) {
	h := exampleHello()
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
		want   error
	}{
		{"another protocol", func(b []byte) []byte { copy(b, "SSH-2.0-"); b[30]++; return b }, ErrNotMirror},
		{"from the future", func(b []byte) []byte { b[8], b[10], b[30] = 2, 3, 99; return b }, ErrVersion},
		{"from the past", func(b []byte) []byte { b[8], b[10] = 0, 0; return b }, ErrVersion},
		{"upside down", func(b []byte) []byte { b[8], b[10] = 1, 0; return b }, ErrVersion},
		{"damaged", func(b []byte) []byte { b[30]++; return b }, ErrChecksum},
		{"long", func(b []byte) []byte { b[14] = 1; return b }, ErrFormat},
		{"more behind", func(b []byte) []byte { return resum(append(b, 0)) }, ErrFormat},
		{"more behind, from a newer one", func(b []byte) []byte { b[10] = 2; return resum(append(b, 0)) }, nil},
		{"reserved", func(b []byte) []byte { b[30] = 1; return resum(b) }, ErrFormat},
		{"role", func(b []byte) []byte { b[28] = 9; return resum(b) }, ErrFormat},
		{"window", func(b []byte) []byte { b[35] = 255; return resum(b) }, ErrFormat},
	} {
		if _, err := readHello(bytes.NewReader(c.change(h.encode()))); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// resum makes length and checksum of a hello right.
func resum(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[12:], uint32(len(b)-helloFixed))
	binary.LittleEndian.PutUint32(b[16:], helloSum(b))
	return b
}

func FuzzFrame(f *testing.F) {
	for _, e := range examples() {
		f.Add(e.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headerLen {
			lawful(t, b)
		}
	})
}

func FuzzHello(f *testing.F) {
	h := exampleHello()
	f.Add(h.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < helloFixed {
			return
		}
		if len(b) <= helloFixed+maxHello {
			b = resum(bytes.Clone(b))
		}
		h, err := readHello(bytes.NewReader(b))
		if err != nil {
			if !known(err) {
				t.Fatal(err)
			}
			return
		}
		if got := h.encode(); h.Newest == newestVersion && !bytes.Equal(got[helloFixed:], b[helloFixed:]) {
			t.Fatalf("decoded %x\nencodes to %x", b, got)
		}
	})
}
