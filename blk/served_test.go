package blk

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/internal/uring"
	"github.com/belay-vm/belay/vhostuser"
	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const diskSize = 8 << 20

// served is a device with a server around it and a front end connected.
type served struct {
	dev    *Device
	store  *fileStore
	server *vhostuser.Server
	socket string
	*vhosttest.FrontEnd
}

// eachEngine runs test with a device on each kind of engine.
func eachEngine(t *testing.T, opts Options, front vhosttest.Options, test func(*testing.T, *served)) {
	t.Helper()
	for _, kind := range []aio.Kind{aio.Uring, aio.Inline, aio.Threads} {
		t.Run(string(kind), func(t *testing.T) {
			opts := opts
			opts.Engine = kind
			test(t, serve(t, newFileStore(t, diskSize, kind == aio.Inline), opts, front))
		})
	}
}

// serve starts a device over store, connects and starts the rings.
func serve(t testing.TB, store *fileStore, opts Options, front vhosttest.Options) *served {
	t.Helper()
	if opts.Engine == aio.Uring || opts.Engine == "" {
		r, err := uring.New(1, 1)
		if errors.Is(err, uring.ErrUnsupported) {
			t.Skipf("this machine refuses io_uring: %v", err)
		}
		if err == nil {
			err = r.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	dev, err := New(store, opts)
	if err != nil {
		t.Fatal(err)
	}
	s := &served{
		dev: dev, store: store,
		server: vhostuser.NewServer(dev, nil, vhostuser.Options{}),
		socket: filepath.Join(t.TempDir(), "sock"),
	}
	l, err := net.Listen("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, dev.Close()); err != nil {
			t.Error(err)
		}
	})
	if s.FrontEnd, err = vhosttest.Connect(s.socket, front); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.FrontEnd.Close(); err != nil {
			t.Error(err)
		}
	})
	must(t, s.Start())
	return s
}

func (s *served) disk(t testing.TB, queue, depth, maxLen int) *vhosttest.Disk {
	t.Helper()
	d, err := vhosttest.NewDisk(s.Queue(queue), depth, maxLen)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantStatus checks with which status a request ended.
func wantStatus(t testing.TB, err error, want Status) {
	t.Helper()
	var ended *vhosttest.StatusError
	switch {
	case err == nil && want == StatusOK:
	case errors.As(err, &ended) && Status(ended.Status) == want:
	default:
		t.Fatalf("request ended with %v, want status %d", err, want)
	}
}

func randomBytes(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	p := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(p)
	return p
}

func wantData(t testing.TB, d *vhosttest.Disk, sector uint64, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	must(t, d.Read(sector, got))
	if !bytes.Equal(got, want) {
		t.Fatalf("sector %d: %d bytes differ from what was written", sector, len(want))
	}
}

func TestDataComesBack(t *testing.T) {
	for _, front := range []vhosttest.Options{
		{},
		{EventIdx: true, Indirect: true},
		{Packed: true, EventIdx: true, Indirect: true},
	} {
		eachEngine(t, Options{Serial: "belay-0001"}, front, func(t *testing.T, s *served) {
			d := s.disk(t, 0, 4, 128<<10)
			data := randomBytes(1, 300<<10)
			must(t, d.Write(3, data))
			must(t, d.Flush())
			wantData(t, d, 3, data)
			must(t, d.Discard(8, 8))
			clear(data[5*512 : 13*512])
			wantData(t, d, 3, data)
			must(t, d.WriteZeroes(16, 3, true))
			clear(data[13*512 : 16*512])
			must(t, d.WriteZeroes(100, 1, false))
			clear(data[97*512 : 98*512])
			wantData(t, d, 3, data)
			id, err := d.GetID()
			if err != nil || id != "belay-0001" {
				t.Fatalf("serial is %q, error %v", id, err)
			}
		})
	}
}

// TestEverySplit cuts the readable and the writable part of requests at every byte.
func TestEverySplit(t *testing.T) {
	eachEngine(t, Options{}, vhosttest.Options{Indirect: true}, func(t *testing.T, s *served) {
		d := s.disk(t, 0, 1, 4096)
		const n = 512
		for at := 1; at < headerSize+n; at++ {
			want := randomBytes(uint64(at), n)
			do(t, d, vhosttest.OpWrite, want, func(r *vhosttest.Req) { r.Readable = []int{at} })
			got := do(t, d, vhosttest.OpRead, make([]byte, n), func(r *vhosttest.Req) { r.Writable = []int{at} })
			if !bytes.Equal(got, want) {
				t.Fatalf("cut at %d: other data came back", at)
			}
		}
	})
}

// TestManySplits cuts them into pieces of equal length, each length that fits an indirect table.
func TestManySplits(t *testing.T) {
	store := newFileStore(t, diskSize, true)
	s := serve(t, store, Options{Engine: aio.Inline}, vhosttest.Options{Indirect: true})
	d := s.disk(t, 0, 1, 4096)
	const n = 1024
	for length := 5; length <= headerSize+n; length++ {
		var cuts []int
		for left := headerSize + n; left > 0; left -= length {
			cuts = append(cuts, length)
		}
		want := randomBytes(uint64(length), n)
		do(t, d, vhosttest.OpWrite, want, func(r *vhosttest.Req) { r.Readable, r.Shift = cuts, length%64 })
		got := do(t, d, vhosttest.OpRead, make([]byte, n), func(r *vhosttest.Req) { r.Writable = cuts })
		if !bytes.Equal(got, want) {
			t.Fatalf("pieces of %d bytes: other data came back", length)
		}
	}
}

// do runs one request at sector 8, shaped by shape, and returns its data.
func do(t testing.TB, d *vhosttest.Disk, op vhosttest.Op, data []byte, shape func(*vhosttest.Req)) []byte {
	t.Helper()
	r := d.Get()
	r.Op, r.Sector, r.Len = op, 8, len(data)
	shape(r)
	copy(r.Data(), data)
	if op == vhosttest.OpRead {
		clear(r.Data()[:r.Len])
	}
	must(t, d.Do(r))
	want := uint32(statusSize)
	if op == vhosttest.OpRead {
		want += uint32(len(data))
	}
	if r.Written != want {
		t.Fatalf("the device says that it wrote %d bytes, want %d", r.Written, want)
	}
	got := bytes.Clone(r.Data()[:r.Len])
	d.Put(r)
	return got
}

// TestLeanRequests : what load generators send is served as any other request is.
func TestLeanRequests(t *testing.T) {
	for _, front := range []vhosttest.Options{
		{},
		{EventIdx: true, Indirect: true, TableLen: 4},
		{EventIdx: true, Indirect: true, TableLen: 4, Packed: true},
	} {
		s := serve(t, newFileStore(t, diskSize, true), Options{Engine: aio.Inline, Serial: "lean"}, front)
		lean, err := vhosttest.NewLeanDisk(s.Queue(0), 4, 8192)
		must(t, err)
		want := randomBytes(7, 40<<10)
		must(t, lean.Write(3, want))
		must(t, lean.Flush())
		wantData(t, lean, 3, want)
		must(t, lean.WriteZeroes(3, 8, false))
		clear(want[:4096])
		wantData(t, lean, 3, want)
		if id, err := lean.GetID(); err != nil || id != "lean" {
			t.Errorf("serial %q, %v", id, err)
		}
		must(t, s.Stop())
		must(t, s.Start())
		wantData(t, s.disk(t, 0, 4, 8192), 3, want)
	}
}
