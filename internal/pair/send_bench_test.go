package pair

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/mirror"
)

// receiverEnv names a process that only receives, so that what is measured is the sender.
const receiverEnv = "BELAY_TEST_RECEIVER"

// receive is that process: it takes everything and keeps nothing. With a word it does so by TLS.
func receive(how string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Println(l.Addr()); err != nil {
		return err
	}
	c, err := l.Accept()
	if err != nil {
		return err
	}
	if how == "tls" {
		c = tls.Server(c, oneCertificate())
	}
	s, err := mirror.Open(context.Background(), c, mirror.Config{
		Sink: nullSink{}, Hello: benchHello(mirror.Secondary, benchSize),
	})
	if err != nil {
		return err
	}
	<-s.Done()
	return nil
}

// nullSink takes everything and keeps nothing.
type nullSink struct{ mirror.Sink }

func (nullSink) SyncBegin(mirror.SyncPlan) ([]mirror.Range, error) { return nil, nil }
func (nullSink) SyncWrite(int, []mirror.Piece) error               { return nil }
func (nullSink) SyncFlush(int) (int64, error)                      { return 0, nil }
func (nullSink) SyncEnd(mirror.Mark, int) error                    { return nil }

func benchHello(role mirror.Role, size int64) mirror.Hello {
	h := mirror.Hello{Role: role, Name: "x", Generation: 1, Disks: []mirror.DiskHello{{Size: size}}}
	if role == mirror.Secondary {
		h.Generation, h.Window = 0, 64<<20
	}
	return h
}

const benchSize = 256 << 20

// BenchmarkSend sends what a disk holds, written in order or at random, and shows what the sender's
// processors do for it.
func BenchmarkSend(b *testing.B) {
	for _, how := range []string{"plain", "tls"} {
		for _, sums := range []bool{true, false} {
			for _, step := range []int{64 << 10, 4 << 10} {
				b.Run(fmt.Sprintf("%s/sums=%v/writes=%d", how, sums, step), func(b *testing.B) {
					benchmarkSend(b, how, sums, step)
				})
			}
		}
	}
}

func benchmarkSend(b *testing.B, how string, sums bool, step int) {
	dir := filepath.Join(b.TempDir(), "vol")
	err := checkpoint.Create(dir, checkpoint.CreateOptions{Size: benchSize, Checksums: sums})
	if err != nil {
		b.Fatal(err)
	}
	store, err := checkpoint.Open(dir, checkpoint.Options{Pair: true, MaxUnretired: 64})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	v := &volume{Store: store}
	p := make([]byte, step)
	for i := range benchSize / step {
		at := i
		if step == 4<<10 {
			at = i * 40503 % (benchSize / step) // all of them once, in another order
		}
		p[0]++
		if _, err := v.WriteAt(p, int64(at*step)); err != nil {
			b.Fatal(err)
		}
	}
	tracker, err := v.Track()
	if err != nil {
		b.Fatal(err)
	}
	defer tracker.Close()
	b.SetBytes(benchSize)
	var cpu int64
	for b.Loop() {
		cpu += sendOnce(b, how, v, tracker)
	}
	b.ReportMetric(float64(cpu)/float64(b.N)/(benchSize>>20)/1000, "us-cpu/MiB")
}

func sendOnce(b *testing.B, how string, v *volume, tracker *checkpoint.Tracker) (cpu int64) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), receiverEnv+"="+how)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = child.Wait() }()
	var address string
	if _, err := fmt.Fscan(out, &address); err != nil {
		b.Fatal(err)
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	if how == "tls" {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	s, err := mirror.Open(context.Background(), c, mirror.Config{Hello: benchHello(mirror.Primary, benchSize)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var before, after unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
	err = s.Sync(context.Background(), mirror.SyncPlan{Run: newID(), Size: benchSize},
		func(have []mirror.Range) (mirror.Source, error) {
			n, err := lack(context.Background(), v, tracker, 0, have)
			src := newSource(v, tracker)
			src.left, src.cut = n, func() error { tracker.Cut(); return nil }
			return src, err
		}, mirror.SyncOptions{})
	if err != nil {
		b.Fatal(err)
	}
	_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
	return after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
}
