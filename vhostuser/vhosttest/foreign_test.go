package vhosttest_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/belay-vm/belay/vhostuser/vhosttest"
)

// serveQSD starts qemu-storage-daemon on a file: a back end that nobody here has written.
func serveQSD(t *testing.T, size int64, queues int) string {
	t.Helper()
	qsd, err := exec.LookPath("qemu-storage-daemon")
	if err != nil {
		t.Skip("qemu-storage-daemon is not installed (Debian: qemu-system-x86, qemu-utils)")
	}
	dir := t.TempDir()
	image, socket := filepath.Join(dir, "disk"), filepath.Join(dir, "sock")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(qsd,
		"--blockdev", "driver=file,node-name=f,filename="+image,
		"--export", fmt.Sprintf("type=vhost-user-blk,id=e,addr.type=unix,addr.path=%s,node-name=f,"+
			"writable=on,num-queues=%d", socket, queues))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	awaitSocket(t, socket)
	return socket
}

func awaitSocket(t *testing.T, path string) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for range 500 {
		listening, err := vhosttest.Listening(os.Getpid(), path)
		if err != nil {
			t.Fatal(err)
		}
		if listening {
			return
		}
		<-again.C
	}
	t.Fatal("the back end did not open its socket")
}

// TestForeignBackend drives qemu-storage-daemon: what it accepts, our front end says rightly.
func TestForeignBackend(t *testing.T) {
	for _, o := range []vhosttest.Options{
		{},
		{Indirect: true, EventIdx: true, Queues: 2},
		{Regions: 3, QueueSize: 64, EventIdx: true},
		{MemSlots: true, Indirect: true, Inflight: true},
	} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			f, err := vhosttest.Connect(serveQSD(t, 8<<20, 2), o)
			if err != nil {
				t.Fatal(err)
			}
			defer closing(t, f)
			driveForeign(t, f)
		})
	}
}

func driveForeign(t *testing.T, f *vhosttest.FrontEnd) {
	t.Helper()
	if sectors, err := f.Capacity(); err != nil || sectors != 8<<20/512 {
		t.Fatalf("capacity %d, %v", sectors, err)
	}
	disk, err := vhosttest.NewDisk(f.Queue(f.Queues()-1), 16, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 200<<10)
	for i := range want {
		want[i] = byte(rand.Uint32())
	}
	for range 3 { // three starts, with a stop between them
		if err := f.Start(); err != nil {
			t.Fatal(err)
		}
		if err := disk.Write(8, want); err != nil {
			t.Fatal(err)
		}
		if err := disk.Flush(); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if err := disk.Read(8, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatal("read something else than was written")
		}
		if err := disk.Discard(0, 8); err != nil {
			t.Fatal(err)
		}
		if err := disk.WriteZeroes(1024, 8, true); err != nil {
			t.Fatal(err)
		}
		if id, err := disk.GetID(); err != nil || id == "" {
			t.Fatalf("id %q, %v", id, err)
		}
		asyncForeign(t, disk)
		if err := f.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// asyncForeign keeps all requests in flight, cut in odd ways, until each was used often.
func asyncForeign(t *testing.T, disk *vhosttest.Disk) {
	t.Helper()
	var done []*vhosttest.Req
	for issued, ended := 0, 0; ended < 2000; {
		for issued < 2000 {
			r := disk.Get()
			if r == nil {
				break
			}
			r.Op, r.Sector, r.Len = vhosttest.OpRead, 8+uint64(issued%64), 4096
			r.Writable = []int{1, 511, 1024, 3, 700}
			r.Readable = []int{5, 3, 8}
			if issued%4 == 0 {
				r.Writable = []int{512}
			}
			if err := disk.Submit(r); err != nil {
				disk.Put(r)
				break
			}
			issued++
		}
		disk.Kick()
		var err error
		if done, err = disk.Wait(done[:0], 10*time.Second); err != nil {
			t.Fatal(err)
		}
		for _, r := range done {
			if r.Err() != nil || r.Written != 4097 {
				t.Fatalf("%v, %d bytes written", r.Err(), r.Written)
			}
			disk.Put(r)
			ended++
		}
	}
}

func closing(t *testing.T, f *vhosttest.FrontEnd) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestNobodyListens shows that a failed connection leaves nothing behind.
func TestNobodyListens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	if _, err := vhosttest.Connect(path, vhosttest.Options{}); err == nil {
		t.Fatal("connected to nothing")
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		if c, err := l.Accept(); err == nil {
			_ = c.Close()
		}
	}()
	if _, err := vhosttest.Connect(path, vhosttest.Options{}); err == nil {
		t.Fatal("negotiated with a peer that hung up")
	}
}
