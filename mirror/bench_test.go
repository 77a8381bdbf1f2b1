package mirror

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// nullSink takes everything and keeps nothing.
type nullSink struct{}

func (nullSink) SyncBegin(SyncPlan) ([]Range, error)     { return nil, nil }
func (nullSink) SyncWrite(int, []Piece) error            { return nil }
func (nullSink) SyncFlush(int) (int64, error)            { return 0, nil }
func (nullSink) SyncEnd(Mark, int) error                 { return nil }
func (nullSink) Write(int, uint64, []Piece) error        { return nil }
func (nullSink) Seal(uint64) error                       { return nil }
func (nullSink) ReadMark(Mark, int, []byte, int64) error { return nil }

// fileSource hands out the same stretch of a file until it is cut.
type fileSource struct {
	from   io.ReaderAt
	step   int64
	apart  int64 // from one change to the next, in the file
	summed bool
	left   int64 // bytes until Done
	wake   chan struct{}
	idle   bool
}

func (f *fileSource) Next(max int) (Batch, error) {
	if f.left <= 0 {
		done := !f.idle
		f.idle = true
		return Batch{Done: done, Wait: f.wake}, nil
	}
	b := Batch{}
	for off := int64(0); off < int64(max) && f.left > 0; off += f.step {
		at := off / f.step * f.apart % maxBulk
		b.Changes = append(b.Changes, Change{Off: off, Len: f.step, From: f.from, At: at, Summed: f.summed})
		f.left -= f.step
	}
	return b, nil
}

// BenchmarkEpoch sends an epoch of 64 MiB over the loopback device and waits until it is there.
func BenchmarkEpoch(b *testing.B) {
	const epoch = 64 << 20
	path := filepath.Join(b.TempDir(), "data")
	zeroes := make([]byte, maxBulk) // of which every part has the same checksum
	if err := os.WriteFile(path, zeroes, 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for _, step := range []int64{4096, 16384, 65536} {
		for _, summed := range []bool{false, true} {
			for _, apart := range []int64{step, 2 * step} {
				b.Run(fmt.Sprintf("step=%d/byFile=%v/apart=%d", step, summed, apart), func(b *testing.B) {
					b.SetBytes(epoch)
					for b.Loop() {
						oneEpoch(b, &fileSource{from: f, step: step, apart: apart, summed: summed,
							left: epoch, wake: make(chan struct{})}, Checksum(zeroes[:step]))
					}
				})
			}
		}
	}
}

func oneEpoch(b *testing.B, src *fileSource, sum uint32) {
	disks := []DiskHello{{Size: diskSize}}
	acked, complete := make(chan struct{}), make(chan struct{})
	p := Config{Hello: Hello{Role: Primary, Name: "x", Generation: 1, Disks: disks}, Event: func(e Event) {
		if _, ok := e.(Acked); ok {
			close(acked)
		}
	}}
	s := Config{Hello: Hello{Role: Secondary, Name: "x", Disks: disks, Window: 8 << 20}, Sink: nullSink{},
		Event: func(e Event) {
			if _, ok := e.(Complete); ok {
				close(complete)
			}
		}}
	primary, secondary := openBoth(b, p, s)
	defer secondary.Close()
	defer primary.Close()
	none := func([]Range) (Source, error) { return &fileSource{wake: make(chan struct{})}, nil }
	err := primary.Sync(context.Background(), SyncPlan{Run: runA, Size: diskSize}, none, SyncOptions{})
	if err != nil {
		b.Fatal(err)
	}
	stream := primary.Stream([]Source{&summing{src, sum}})
	if err := stream.Seal(context.Background(), 0, nil); err != nil {
		b.Fatal(err, secondary.Err())
	}
	<-complete
	if err := secondary.Ack(0); err != nil {
		b.Fatal(err)
	}
	<-acked
}

// summing fills in the checksum that all changes share.
type summing struct {
	*fileSource
	sum uint32
}

func (s *summing) Next(max int) (Batch, error) {
	b, err := s.fileSource.Next(max)
	for i := range b.Changes {
		b.Changes[i].Sum = s.sum
	}
	return b, err
}

func openBoth(b *testing.B, p, s Config) (primary, secondary *Session) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			secondary, err = Open(context.Background(), c, s)
		}
		done <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err == nil {
		primary, err = Open(context.Background(), c, p)
	}
	if err != nil || <-done != nil {
		b.Fatal(err)
	}
	return primary, secondary
}
