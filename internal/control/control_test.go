package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve offers vol in a fresh directory and returns a client of it.
func serve(t *testing.T, vol Volume, metrics prometheus.Gatherer) *Client {
	t.Helper()
	dir := t.TempDir()
	l, err := Listen(filepath.Join(dir, SocketName), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(vol, metrics, hclog.NewNullLogger())
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		_ = l.Close()
	})
	return c
}

func TestVerbs(t *testing.T) {
	ctx := context.Background()
	c := serve(t, &fake{size: 8192}, prometheus.NewRegistry())
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	p, err := c.Checkpoint(ctx, "first")
	must("checkpoint", err)
	if p.ID != 1 || p.Name != "first" || !p.Retired || !p.Time.Equal(epochZero) {
		t.Errorf("checkpoint answered %+v", p)
	}
	_, err = c.Start(ctx, "")
	must("start", err)
	p, err = c.Retire(ctx)
	must("retire", err)
	if p.ID != 2 || !p.Retired {
		t.Errorf("retire answered %+v", p)
	}
	h, err := c.History(ctx)
	must("history", err)
	if len(h.Points) != 2 || len(h.Lines) != 1 || !h.Lines[0].Current {
		t.Errorf("history is %+v", h)
	}
	r, err := c.Rollback(ctx, "first")
	must("rollback", err)
	if r.To.ID != 1 || r.Line != 2 {
		t.Errorf("rollback answered %+v", r)
	}
	r, err = c.Undo(ctx)
	must("undo", err)
	if r.Line != 3 {
		t.Errorf("undo answered %+v", r)
	}
	_, err = c.Delete(ctx, "2")
	must("delete", err)
	z, err := c.Resize(ctx, 16384, false)
	must("resize", err)
	if z != (Resized{8192, 16384}) {
		t.Errorf("resize answered %+v", z)
	}
	st, err := c.Status(ctx)
	must("status", err)
	if st.Size != 16384 || st.Server == nil || st.Server.PID != 7 {
		t.Errorf("status is %+v", st)
	}
}

// An error must read the same on both sides of the socket.
func TestErrorsCross(t *testing.T) {
	ctx := context.Background()
	f := &fake{size: 8192}
	c := serve(t, f, prometheus.NewRegistry())
	for name, call := range map[string]func(v Volume) error{
		"no checkpoint": func(v Volume) error { _, err := v.Delete(ctx, "x"); return err },
		"shrink":        func(v Volume) error { _, err := v.Resize(ctx, 512, false); return err },
		"retire":        func(v Volume) error { _, err := v.Retire(ctx); return err },
		"export":        func(v Volume) error { return v.Export(ctx, "nope", &sink{}) },
	} {
		here, there := call(f), call(c)
		if here == nil || there == nil || here.Error() != there.Error() || CodeOf(here) != CodeOf(there) {
			t.Errorf("%s: %v (%s) here, %v (%s) through the socket", name,
				here, CodeOf(here), there, CodeOf(there))
		}
	}
	f.fail = fmt.Errorf("disk: %w", io.ErrUnexpectedEOF)
	_, err := c.Start(ctx, "")
	if err == nil || err.Error() != "disk: unexpected EOF" || CodeOf(err) != CodeFailed {
		t.Errorf("a foreign error arrived as %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	c := serve(t, &fake{size: 8192}, prometheus.NewRegistry())
	for _, tt := range []struct {
		method, path, body string
		code               Code
		status             int
	}{
		{"GET", "/v2/status", "", CodeNotFound, 404},
		{"GET", "/v1/nothing", "", CodeNotFound, 404},
		{"DELETE", "/v1/status", "", CodeNotFound, 404},
		{"POST", "/v1/start", `{"nam":"x"}`, CodeInvalid, 400},
		{"POST", "/v1/start", `{`, CodeInvalid, 400},
		{"POST", "/v1/start", `{} {}`, CodeInvalid, 400},
		{"POST", "/v1/start", `{"name":"12"}`, CodeInvalid, 400},
		{"POST", "/v1/start", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, CodeInvalid, 400},
		{"POST", "/v1/rollback", `{}`, CodeInvalid, 400},
		{"POST", "/v1/rollback", `{"to":"1","undo":true}`, CodeInvalid, 400},
		{"POST", "/v1/delete", ``, CodeInvalid, 400},
		{"POST", "/v1/resize", `{"size":513}`, CodeInvalid, 400},
		{"POST", "/v1/resize", `{"size":-512}`, CodeInvalid, 400},
	} {
		r, err := http.NewRequest(tt.method, "http://belay"+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		a, err := c.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(a.Body)
		_ = a.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		got := decodeErrorBody(b, a.Status)
		if CodeOf(got) != tt.code || a.StatusCode != tt.status {
			t.Errorf("%s %s %.40s: %d %s (%v), want %d %s", tt.method, tt.path, tt.body,
				a.StatusCode, CodeOf(got), got, tt.status, tt.code)
		}
	}
}

func TestCheckStreams(t *testing.T) {
	f := &fake{size: 8192}
	c := serve(t, f, prometheus.NewRegistry())
	seen := 0
	r, err := c.Check(context.Background(), func(done, total int64) { seen++ })
	if err != nil || r.Pages != 2 || seen == 0 {
		t.Errorf("check: %+v, %v after %d reports of progress", r, err, seen)
	}
	f.broken = &Error{Code: CodeNoSpace, Message: "map at 4096: checksum"}
	_, err = c.Check(context.Background(), nil)
	if CodeOf(err) != CodeNoSpace || err.Error() != "map at 4096: checksum" {
		t.Errorf("a failed check arrived as %v", err)
	}
}

// sink collects an export.
type sink struct {
	size int64
	got  map[int64]string
	fail error
}

func (s *sink) Begin(size int64) error { s.size, s.got = size, map[int64]string{}; return s.fail }

func (s *sink) Data(p []byte, off int64) error { s.got[off] = string(p); return nil }

func TestExportStreams(t *testing.T) {
	ctx := context.Background()
	big := strings.Repeat("b", maxPiece+5)
	f := &fake{size: 64 << 20, pieces: map[int64][]byte{0: []byte("zero"), 8192: []byte(big)}}
	c := serve(t, f, prometheus.NewRegistry())
	var s sink
	if err := c.Export(ctx, "", &s); err != nil {
		t.Fatal(err)
	}
	if s.size != 64<<20 || s.got[0] != "zero" || s.got[8192]+s.got[8192+maxPiece] != big || len(s.got) != 3 {
		t.Errorf("export brought %d bytes in %d pieces", s.size, len(s.got))
	}
	full := &sink{fail: errors.New("target is full")}
	if err := c.Export(ctx, "", full); err == nil || err.Error() != "target is full" {
		t.Errorf("a failing sink ended the export with %v", err)
	}
	f.broken = &Error{Code: CodeCorrupt, Message: "data at 0: checksum"}
	if err := c.Export(ctx, "", &s); CodeOf(err) != CodeCorrupt {
		t.Errorf("damage in the middle of an export arrived as %v", err)
	}
}

func TestDumpStreams(t *testing.T) {
	f := &fake{}
	c := serve(t, f, prometheus.NewRegistry())
	var out strings.Builder
	if err := c.Dump(context.Background(), &out, false); err != nil || out.String() != "superblock\n" {
		t.Errorf("dump: %q, %v", out.String(), err)
	}
	f.broken = &Error{Code: CodeCorrupt, Message: "map at 4096: checksum"}
	err := c.Dump(context.Background(), io.Discard, false)
	if CodeOf(err) != CodeCorrupt || err.Error() != "map at 4096: checksum" {
		t.Errorf("damage in the middle of a dump arrived as %v", err)
	}
	f.fail = &Error{Code: CodePoisoned, Message: "stopped"}
	if err := c.Dump(context.Background(), io.Discard, false); CodeOf(err) != CodePoisoned {
		t.Errorf("a refused dump arrived as %v", err)
	}
	pipe, closed := io.Pipe()
	_ = pipe.Close()
	f.fail, f.broken = nil, nil
	if err := c.Dump(context.Background(), closed, false); CodeOf(err) != CodeFailed {
		t.Errorf("a dump into a closed pipe: %v", err)
	}
}

func TestReadPiecesRefusesNonsense(t *testing.T) {
	piece := func(kind, n uint32, off uint64) []byte {
		return []byte{0: byte(off), 7: byte(off >> 56),
			8: byte(n), 10: byte(n >> 16), 11: byte(n >> 24), 12: byte(kind), 15: 0}
	}
	begin := piece(pieceBegin, 0, 200)
	for name, stream := range map[string][]byte{
		"empty":              nil,
		"no end":             begin,
		"data before begin":  append(piece(pieceData, 1, 0), 'x'),
		"two begins":         append(begin, begin...),
		"end before begin":   piece(pieceEnd, 0, 0),
		"beyond the disk":    append(append(bytes.Clone(begin), piece(pieceData, 1, 200)...), 'x'),
		"negative offset":    append(append(bytes.Clone(begin), piece(pieceData, 1, 1<<63)...), 'x'),
		"huge piece":         append(bytes.Clone(begin), piece(pieceData, 0xff<<24, 0)...),
		"unknown kind":       append(bytes.Clone(begin), piece(9, 0, 0)...),
		"cut in a piece":     append(bytes.Clone(begin), piece(pieceData, 5, 0)...),
		"error without text": append(bytes.Clone(begin), piece(pieceError, 0, 0)...),
	} {
		if err := readPieces(bytes.NewReader(stream), &sink{}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// A caller who gives up ends the work on the other side.
func TestCancel(t *testing.T) {
	f := &fake{size: 8192, gate: make(chan struct{})}
	c := serve(t, f, prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(context.Background())
	_, err := c.Check(ctx, func(int64, int64) { cancel() })
	if CodeOf(err) != CodeInterrupted {
		t.Errorf("a cancelled check ended with %v", err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	if err := c.Export(ctx, "", &sink{}); CodeOf(err) != CodeInterrupted {
		t.Errorf("a cancelled export ended with %v", err)
	}
}

// A server that dies in the middle of an answer must not look like one that finished.
func TestServerDies(t *testing.T) {
	dir := t.TempDir()
	l, err := Listen(filepath.Join(dir, SocketName), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"progress\":{\"done\":1,\"total\":2}}\n"
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var req [4096]byte
			if n, _ := conn.Read(req[:]); n > 0 {
				_, _ = io.WriteString(conn, answer)
			}
			_ = conn.Close()
		}
	}()
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Check(context.Background(), nil); CodeOf(err) != CodeUnreachable {
		t.Errorf("check against a dying server ended with %v", err)
	}
	if err := c.Export(context.Background(), "", &sink{}); err == nil {
		t.Error("export from a dying server succeeded")
	}
	_ = c.Close()
	_ = l.Close()
	<-done
	if _, err := c.Status(context.Background()); CodeOf(err) != CodeUnreachable {
		t.Errorf("status after the server's end answered %v", err)
	}
}

func TestDialNobody(t *testing.T) {
	dir := t.TempDir()
	if _, err := Dial(dir); !errors.Is(err, ErrNotServed) {
		t.Errorf("empty directory: %v", err)
	}
	if _, err := Dial(filepath.Join(dir, "none")); !errors.Is(err, ErrNotServed) {
		t.Errorf("no directory: %v", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, SocketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	if _, err := Dial(dir); !errors.Is(err, ErrNotServed) {
		t.Errorf("stale socket: %v", err)
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"": true, "before-upgrade": true, "größe 2": true, "12a": true, strings.Repeat("x", 255): true,
		"12": false, "0": false, "a\nb": false, "a\x00": false, "\xff": false, " a": false, "a ": false,
		"a\u200bb": false, strings.Repeat("x", 256): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("name %.20q: %v", name, err)
		} else if err != nil && CodeOf(err) != CodeInvalid {
			t.Errorf("name %.20q: code %s", name, CodeOf(err))
		}
	}
}
