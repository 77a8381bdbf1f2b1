package trace

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Source is where readings come from.
type Source interface {
	// Snapshot reads the counters.
	Snapshot() (*Snapshot, error)
	// Events calls each with what happens until the context ends, and with all of it before it returns.
	Events(ctx context.Context, each func(Happening)) error
}

// Happening is an event as a source tells it: one of Event, Outlier and Flush is set, and its time is
// that of the snapshots' clock.
type Happening struct {
	At      uint64
	Event   *Event
	Outlier *Outlier
	Flush   bool   // the end of a flush round; there are so many that they are only counted
	Ns      uint64 // that it took
}

// leastSpan is the shortest last interval; a shorter one says nothing.
const leastSpan = 10 * time.Millisecond

// Collect reads the source at each tick and hands the intervals out, the last one when the context
// ends. It returns nil then.
func Collect(ctx context.Context, src Source, ticks <-chan time.Time, each func(*Interval) error) error {
	earlier, err := src.Snapshot()
	if err != nil {
		return err
	}
	c := &collector{offset: time.Now().UnixNano() - int64(earlier.At)}
	listening, stop := context.WithCancel(context.Background()) // ends after the last reading
	heard := make(chan error, 1)
	go func() { heard <- src.Events(listening, c.hear) }()
	defer func() {
		stop()
		if heard != nil {
			<-heard
		}
	}()
	for last := false; !last; {
		select {
		case err := <-heard:
			heard = nil // there will be no more of it
			if err != nil {
				return err
			}
			continue
		case <-ticks:
		case <-ctx.Done():
			last = true
		}
		now, err := src.Snapshot()
		if err != nil {
			return err
		}
		iv := Between(earlier, now, c.offset)
		if last && heard != nil { // what is on its way belongs to this interval
			stop()
			err, heard = <-heard, nil
			if err != nil {
				return err
			}
		}
		earlier = now
		c.take(iv)
		if last && iv.Span < leastSpan && iv.Only("").Requests == 0 && len(iv.Events) == 0 {
			return nil
		}
		if err := each(iv); err != nil {
			return err
		}
	}
	return nil
}

// collector gathers what happens between two readings.
type collector struct {
	offset int64 // from the snapshots' clock to the time of day, in ns

	mu   sync.Mutex // guards iv
	iv   Interval   // its events, outliers and flush rounds
	seen int        // outliers since they were sorted
}

func (c *collector) hear(h Happening) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := time.Unix(0, int64(h.At)+c.offset)
	if h.Event != nil {
		e := *h.Event
		e.Time = at
		c.iv.Events = append(c.iv.Events, e)
	}
	if h.Flush {
		c.iv.FlushRounds++
		c.iv.FlushNs += h.Ns
	}
	if h.Outlier != nil {
		o := *h.Outlier
		o.Time = at
		c.iv.Outliers = append(c.iv.Outliers, o)
		if c.seen++; c.seen%(8*MaxOutliers) == 0 { // a bound on memory that costs little
			c.iv.keep(nil)
		}
	}
}

// take adds what happened since the last time to an interval.
func (c *collector) take(iv *Interval) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.iv.keep(nil)
	iv.Events, iv.Outliers = c.iv.Events, c.iv.Outliers
	iv.Tally.add(c.iv.Tally)
	c.iv = Interval{}
	slices.SortStableFunc(iv.Events, func(a, b Event) int { return a.Time.Compare(b.Time) })
}
