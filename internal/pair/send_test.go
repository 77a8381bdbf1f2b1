package pair

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/mirror"
)

// wire is two stores with a session between them, over a real connection. Nothing else of a pair is there.
type wire struct {
	t      *testing.T
	dir    string
	p, s   *volume
	src    *source
	sink   *sink
	ps, ss *mirror.Session
	stream *mirror.Stream
	acked  chan uint64
}

const wireSize = 8<<20 - 512 // the last block is none

func openWire(t *testing.T, sums, secure bool) *wire {
	t.Helper()
	w := &wire{t: t, acked: make(chan uint64, 1)}
	var stores []*volume
	for _, name := range []string{"p", "s"} {
		dir := filepath.Join(t.TempDir(), name)
		must(t, checkpoint.Create(dir, checkpoint.CreateOptions{Size: wireSize, Checksums: sums}))
		s, err := checkpoint.Open(dir, checkpoint.Options{Pair: true, MaxUnretired: 64})
		must(t, err)
		t.Cleanup(func() { must(t, s.Close()) })
		stores = append(stores, &volume{Store: s})
		if name == "p" {
			w.dir = dir
		}
	}
	w.p, w.s = stores[0], stores[1]
	w.sink = newSink([]*volume{w.s}, func(mirror.SyncPlan) error { return nil })
	tracker, err := w.p.Track()
	must(t, err)
	w.src = newSource(w.p, tracker)
	w.open(secure)
	t.Cleanup(func() {
		w.ps.Close()
		w.ss.Close()
		w.sink.drop()
		tracker.Close()
	})
	return w
}

// open connects the two.
func (w *wire) open(secure bool) {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(w.t, err)
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	must(w.t, err)
	b, err := l.Accept()
	must(w.t, err)
	if secure {
		a, b = tls.Client(a, &tls.Config{InsecureSkipVerify: true}), tls.Server(b, oneCertificate())
	}
	opened := make(chan error, 1)
	complete := make(chan uint64, 1)
	go func() {
		var err error
		w.ss, err = mirror.Open(context.Background(), b, mirror.Config{
			Hello: benchHello(mirror.Secondary, wireSize), Sink: w.sink, Timeout: limit,
			Event: func(e mirror.Event) {
				if e, ok := e.(mirror.Complete); ok {
					complete <- e.Epoch
				}
			},
		})
		opened <- err
	}()
	w.ps, err = mirror.Open(context.Background(), a, mirror.Config{
		Hello: benchHello(mirror.Primary, wireSize), Timeout: limit,
		Event: func(e mirror.Event) {
			if e, ok := e.(mirror.Acked); ok {
				w.acked <- e.Epoch
			}
		},
	})
	must(w.t, errors.Join(err, <-opened))
	go func() {
		for {
			select {
			case e := <-complete:
				_ = w.ss.Ack(e) // a session that ended says so elsewhere
			case <-w.ss.Done():
				return
			}
		}
	}()
}

// synchronise brings the secondary what there is, and begins to stream.
func (w *wire) synchronise() error {
	base := markName(mirror.Mark{Generation: 1, Epoch: mirror.Base}, 0)
	err := w.ps.Sync(context.Background(), mirror.SyncPlan{Run: newID(), Size: wireSize},
		func(have []mirror.Range) (mirror.Source, error) {
			n, err := lack(context.Background(), w.p, w.src.tracker, 0, have)
			w.src.left, w.src.cut = n, func() error {
				_, _, err := w.src.tracker.Start(base)
				return err
			}
			return w.src, err
		}, mirror.SyncOptions{})
	if err == nil {
		w.stream = w.ps.Stream([]mirror.Source{newSource(w.p, w.src.tracker)})
	}
	return err
}

// checkpoint seals an epoch, which the secondary loads. Whoever writes must wait while cut runs.
func (w *wire) checkpoint(epoch uint64, cut func(start func())) {
	w.t.Helper()
	cut(func() {
		_, _, err := w.src.tracker.Start(markName(mirror.Mark{Generation: 1, Epoch: int64(epoch)}, 0))
		must(w.t, err)
	})
	must(w.t, w.stream.Seal(context.Background(), epoch, nil))
	select {
	case <-w.acked:
	case <-w.ps.Done():
		w.t.Fatal("the session ended: ", w.ps.Err(), w.ss.Err())
	}
	must(w.t, w.sink.load(epoch))
	must(w.t, w.stream.RingStart(epoch))
	must(w.t, retireAll(w.p))
}

func (w *wire) content(v *volume) []byte {
	w.t.Helper()
	p := make([]byte, wireSize)
	_, err := v.ReadAt(p, 0)
	must(w.t, err)
	return p
}

// pattern fills p with bytes that tell blocks and rounds apart.
func pattern(p []byte, round uint64) []byte {
	rng := rand.NewPCG(round, 7)
	for i := 0; i+8 <= len(p); i += 8 {
		v := rng.Uint64()
		for k := range 8 {
			p[i+k] = byte(v >> (8 * k))
		}
	}
	return p
}

// TestSendWays synchronises and streams by each way, and counts by which: what the volume has sums of is
// carried over plain TCP, but for the last block, which is shorter, and for what came to lie in many small
// pieces; all else is read.
func TestSendWays(t *testing.T) {
	for _, c := range []struct {
		name                  string
		sums, secure, carried bool
	}{
		{"plain, sums", true, false, true}, {"plain", false, false, false}, {"TLS, sums", true, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := openWire(t, c.sums, c.secure)
			_, err := w.p.WriteAt(pattern(make([]byte, 3<<20), 1), 0)
			must(t, err)
			must(t, w.synchronise())
			if !bytes.Equal(w.content(w.p), w.content(w.s)) {
				t.Fatal("synchronised: the disks differ")
			}
			_, err = w.p.WriteAt(pattern(make([]byte, 1<<20), 2), 2<<20)
			must(t, err)
			_, err = w.p.WriteAt(pattern(make([]byte, 1024), 3), wireSize-1024)
			must(t, err)
			w.checkpoint(0, func(start func()) { start() })
			if !bytes.Equal(w.content(w.p), w.content(w.s)) {
				t.Fatal("epoch 0: the disks differ")
			}
			st := w.ps.Stats()
			if c.carried && st.Carried < 3<<20 || !c.carried && st.Carried > 0 {
				t.Errorf("%d bytes were carried, %d read", st.Carried, st.Read)
			}
		})
	}
}

// TestSendWhileWritten overwrites blocks all the time and frees what they had, so that places are used again
// as soon as may be, with the page cache full of what lay there before. Nothing torn and nothing old goes
// out: the secondary would refuse it, and the session would end.
func TestSendWhileWritten(t *testing.T) {
	w := openWire(t, true, false)
	must(t, w.synchronise())
	var mu sync.Mutex // held by who writes
	var over atomic.Bool
	var busy sync.WaitGroup
	for k := range uint64(2) {
		busy.Go(func() {
			rng := rand.New(rand.NewPCG(k, 1))
			for round := k << 40; !over.Load(); round++ {
				n := (1 + rng.IntN(32)) << 12
				off := int64(rng.IntN(256)) << 12 // of two MiB: everything is written over and over
				mu.Lock()
				_, err := w.p.WriteAt(pattern(make([]byte, n), round), off)
				mu.Unlock()
				if err == nil && round%8 == 0 {
					err = w.p.Sync() // what was given up may be used again
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	busy.Go(func() { // somebody reads the file as files are read, and so has it cached
		for !over.Load() {
			if err := readFile(filepath.Join(w.dir, "data")); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for epoch := range uint64(25) {
		var was []byte
		w.checkpoint(epoch, func(start func()) {
			mu.Lock()
			defer mu.Unlock()
			was = w.content(w.p)
			start()
		})
		if !bytes.Equal(was, w.content(w.s)) {
			t.Errorf("epoch %d: the disks differ", epoch)
			break
		}
	}
	over.Store(true)
	busy.Wait()
	if st := w.ps.Stats(); st.Carried == 0 {
		t.Errorf("nothing was carried, %d bytes were read", st.Read)
	}
}

func readFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}

// TestSendDamaged damages a block in the data file of the primary: it is not stored at the secondary, and
// the primary says which one it is, whichever way it went.
func TestSendDamaged(t *testing.T) {
	for _, secure := range []bool{false, true} {
		w := openWire(t, true, secure)
		p := pattern(make([]byte, 1<<20), 1)
		_, err := w.p.WriteAt(p, 1<<20)
		must(t, err)
		must(t, w.p.Sync())
		damage(t, filepath.Join(w.dir, "data"), p[300<<10:][:4096])
		err = w.synchronise()
		if err == nil {
			t.Fatalf("secure %v: it arrived", secure)
		}
		<-w.ps.Done()
		<-w.ss.Done()
		text := w.ps.Err().Error()
		const named = "the block at byte 1355776 of the disk: data: corrupt at byte"
		if !strings.Contains(text, named) || strings.Contains(text, "\n") {
			t.Errorf("secure %v: the primary says %q, not of %q", secure, text, named)
		}
		if !secure && !errors.Is(w.ss.Err(), mirror.ErrChecksum) {
			t.Errorf("the secondary says %v", w.ss.Err())
		}
		if got := w.content(w.s); !bytes.Equal(got[1<<20+300<<10:][:4096], make([]byte, 4096)) {
			t.Errorf("secure %v: it was stored", secure)
		}
	}
}

// damage changes a byte of a block that is somewhere in a file.
func damage(t *testing.T, path string, block []byte) {
	t.Helper()
	all, err := os.ReadFile(path)
	must(t, err)
	at := bytes.Index(all, block)
	if at < 0 {
		t.Fatal("the block is not in the data file")
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte{^block[9]}, int64(at)+9)
	must(t, errors.Join(err, f.Sync(), f.Close()))
}
