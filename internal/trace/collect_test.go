package trace

import (
	"context"
	"errors"
	"testing"
	"time"
)

// source is a Source that a test moves on.
type source struct {
	now       Snapshot
	happening chan Happening
	told      chan struct{} // after each happening
	broken    error
}

func newSource() *source {
	s := &source{happening: make(chan Happening), told: make(chan struct{})}
	s.now.Groups = map[Key]*Counts{}
	return s
}

func (s *source) Snapshot() (*Snapshot, error) {
	s.now.At += uint64(time.Second)
	copied := s.now
	copied.Groups = map[Key]*Counts{}
	for key, c := range s.now.Groups {
		same := *c
		copied.Groups[key] = &same
	}
	return &copied, s.broken
}

func (s *source) Events(ctx context.Context, each func(Happening)) error {
	for {
		select {
		case h := <-s.happening:
			each(h)
			s.told <- struct{}{}
		case <-ctx.Done():
			return nil
		}
	}
}

func TestCollect(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	src := newSource()
	ticks := make(chan time.Time)
	got := make(chan *Interval)
	done := make(chan error)
	go func() {
		done <- Collect(ctx, src, ticks, func(iv *Interval) error {
			got <- iv
			return nil
		})
	}()
	for i, h := range []Happening{
		{At: 3, Event: &Event{Kind: Sealed, Epoch: 2}},
		{At: 2, Event: &Event{Kind: Started, Epoch: 2}},
		{At: 4, Flush: true, Ns: 7},
		{At: 1, Outlier: &Outlier{Type: "read", Ns: Times{Total: 5}}},
	} {
		src.happening <- h
		<-src.told
		if i == 0 { // the first snapshot was taken
			src.now.Groups[reads] = new(Counts).request(10, 512, 1, 2, 3, 4)
		}
	}
	ticks <- time.Time{}
	iv := <-got
	if iv.Span != time.Second || iv.Groups[reads].Requests != 10 || len(iv.Events) != 2 ||
		len(iv.Outliers) != 1 || iv.FlushRounds != 1 || iv.FlushNs != 7 {
		t.Errorf("first interval: %+v", iv)
	}
	if iv.Events[0].Kind != Started || iv.Events[1].Time.Sub(iv.Events[0].Time) != 1 {
		t.Errorf("events: %+v", iv.Events)
	}
	stop()
	if iv = <-got; len(iv.Groups) != 0 || len(iv.Events) != 0 {
		t.Errorf("last interval: %+v", iv)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCollectFails(t *testing.T) {
	src := newSource()
	src.broken = errors.New("broken")
	err := Collect(t.Context(), src, nil, nil)
	if !errors.Is(err, src.broken) {
		t.Errorf("source: %v", err)
	}
	full := errors.New("full")
	ticks := make(chan time.Time, 1)
	ticks <- time.Time{}
	err = Collect(t.Context(), newSource(), ticks, func(*Interval) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("sink: %v", err)
	}
}
