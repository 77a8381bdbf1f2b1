package checkpoint

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkTrack is the cost of tracking for a batch of 32 writes of 8 KiB each, all over the disk.
func BenchmarkTrack(b *testing.B) {
	places := make([]placement, 32)
	for _, w := range []struct {
		name    string
		tracked bool
	}{{"off", false}, {"on", true}} {
		b.Run(w.name, func(b *testing.B) {
			s := &Store{}
			if w.tracked {
				s.tracker = &Tracker{s: s, ready: make(chan struct{}, 1), idle: true}
			}
			round := uint64(0)
			for b.Loop() {
				for i := range places {
					round++
					places[i] = placement{block(round * 40503 % (1 << 21)), slot(i), 2}
				}
				if s.tracker != nil {
					s.tracker.note(places)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(places)), "ns/write")
		})
	}
}

// BenchmarkLoad is the time of a load for each block staged, when the secondary's guest has written
// half of the blocks too, and some others. Random blocks of a disk of 8 GiB.
func BenchmarkLoad(b *testing.B) {
	for _, blocks := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprint(blocks, "blocks"), func(b *testing.B) { benchLoad(b, blocks) })
	}
}

func benchLoad(b *testing.B, blocks int) {
	const disk = 1 << 21
	dir := b.TempDir() + "/vol"
	if err := Create(dir, CreateOptions{Size: disk * blockSize}); err != nil {
		b.Fatal(err)
	}
	s, err := Open(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	p, err := s.Checkpoint(b.Context(), "")
	if err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	at, buf, round := p.ID, AlignedBuffer(blockSize), uint64(0)
	for b.Loop() {
		b.StopTimer()
		st, err := s.Stage()
		for i := range blocks {
			if err == nil {
				round++
				err = st.Write(int64(round*40503%disk)*blockSize, buf)
			}
			if err == nil && i%2 == 0 {
				_, err = s.WriteAt(buf, int64((round+uint64(i%4)*7777)*40503%disk)*blockSize)
			}
		}
		if err == nil {
			err = st.Seal()
		}
		b.StartTimer()
		begun := time.Now()
		var res LoadResult
		if err == nil {
			res, err = s.Load(b.Context(), st, at, "")
		}
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
		at = res.Point.ID
	}
	slices.Sort(took)
	median := took[len(took)/2]
	b.ReportMetric(float64(median.Microseconds()), "µs")
	b.ReportMetric(float64(median.Nanoseconds())/float64(blocks), "ns/block")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkTake is the time that it takes to find what changed, for each of 10,000 random blocks.
func BenchmarkTake(b *testing.B) {
	const disk, blocks = 1 << 21, 10000
	dir := b.TempDir() + "/vol"
	if err := Create(dir, CreateOptions{Size: disk * blockSize}); err != nil {
		b.Fatal(err)
	}
	s, err := Open(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	tr, err := s.Track()
	if err != nil {
		b.Fatal(err)
	}
	buf := AlignedBuffer(blockSize)
	for i := range int64(blocks) {
		if _, err := s.WriteAt(buf, i*40503%disk*blockSize); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		for i := range int64(blocks) {
			if err := tr.Add(i*40503%disk*blockSize, blockSize); err != nil {
				b.Fatal(err)
			}
		}
		for {
			batch, err := tr.Next(1 << 20)
			if err != nil {
				b.Fatal(err)
			}
			if batch == nil {
				break
			}
			batch.Release()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/blocks, "ns/block")
	tr.Close()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
