package trace

import (
	"cmp"
	"slices"
	"time"
)

// Interval is what happened between two snapshots.
type Interval struct {
	Time   time.Time // when it began
	Span   time.Duration
	Groups map[Key]*Counts
	Kernel map[KernelKey]*Kernel
	Tally

	Events   []Event   // in the order of their times
	Outliers []Outlier // the slowest first, at most MaxOutliers
}

// MaxOutliers is how many outliers an interval keeps.
const MaxOutliers = 32

// Event is something that happened at one moment.
type Event struct {
	Time  time.Time `json:"time"`
	Kind  EventKind `json:"kind"`
	Epoch uint64    `json:"epoch,omitempty"` // number of the checkpoint it is about
	Ns    uint64    `json:"ns,omitempty"`    // how long it took, where it took any time
	Count uint64    `json:"count,omitempty"` // of requests, or of bytes sent
}

// EventKind is what happened.
type EventKind string

// The kinds of events. An outlier is not among them; it has a list of its own.
const (
	Started     EventKind = "checkpoint started"
	Sealed      EventKind = "checkpoint sealed"
	Retired     EventKind = "checkpoint retired"
	RolledBack  EventKind = "rollback"
	Resubmitted EventKind = "requests taken up again"
	Sent        EventKind = "epoch sent to the partner"
	Acked       EventKind = "epoch acknowledged by the partner"
)

var eventKinds = []EventKind{Started, Sealed, Retired, RolledBack, Resubmitted, Sent, Acked}

// Outlier is one request that took longer than the threshold.
type Outlier struct {
	Time   time.Time `json:"time"` // when it was published
	Type   string    `json:"type"`
	Queue  uint16    `json:"queue"`
	Sector uint64    `json:"sector"`
	Bytes  uint32    `json:"bytes"`
	Status uint8     `json:"status"` // virtio-blk's: 0 is success
	Epoch  uint64    `json:"epoch"`
	Ns     Times     `json:"parts"`
	Alike  uint64    `json:"alike,omitempty"` // others of its batch that took as long in all parts
}

// Between returns the interval from one snapshot to a later one. Offset is what is added to a
// snapshot's clock to get the time of day, in ns.
func Between(earlier, now *Snapshot, offset int64) *Interval {
	return &Interval{
		Time: time.Unix(0, int64(earlier.At)+offset),
		Span: time.Duration(max(now.At, earlier.At) - earlier.At),
		Groups: sinceAll(now.Groups, earlier.Groups, (*Counts).since,
			func(c *Counts) bool { return c.Requests == 0 }),
		Kernel: sinceAll(now.Kernel, earlier.Kernel, (*Kernel).since,
			func(k *Kernel) bool { return k.Operations == 0 && k.Punted == 0 }),
		Tally: now.Tally.since(earlier.Tally),
	}
}

// End is when the next interval begins.
func (iv *Interval) End() time.Time { return iv.Time.Add(iv.Span) }

// Only returns what was counted of one type of requests, or of all where it is empty.
func (iv *Interval) Only(kind string) *Counts {
	sum := new(Counts)
	for key, c := range iv.Groups {
		if kind == "" || key.Type == kind {
			sum.Add(c)
		}
	}
	return sum
}

// Fold returns the interval with one key for each type of requests, which takes less memory.
func (iv *Interval) Fold() *Interval {
	folded := *iv
	folded.Groups = map[Key]*Counts{}
	for key, c := range iv.Groups {
		addAll(folded.Groups, map[Key]*Counts{{Type: key.Type}: c}, (*Counts).Add)
	}
	return &folded
}

// Append makes a longer interval of two that follow each other.
func (iv *Interval) Append(next *Interval) {
	if iv.Groups == nil {
		iv.Groups, iv.Kernel, iv.Time = map[Key]*Counts{}, map[KernelKey]*Kernel{}, next.Time
	}
	iv.Span = next.End().Sub(iv.Time)
	addAll(iv.Groups, next.Groups, (*Counts).Add)
	addAll(iv.Kernel, next.Kernel, (*Kernel).Add)
	iv.Tally.add(next.Tally)
	iv.Events = append(iv.Events, next.Events...)
	iv.keep(next.Outliers)
}

// keep adds outliers and forgets all but the slowest.
func (iv *Interval) keep(more []Outlier) {
	all := slices.Concat(iv.Outliers, more) // the two may share an array with another interval
	slices.SortStableFunc(all, func(a, b Outlier) int {
		return cmp.Or(cmp.Compare(b.Ns[Total], a.Ns[Total]), a.Time.Compare(b.Time),
			cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Type, b.Type))
	})
	n := 0
	for _, o := range all {
		if n > 0 && all[n-1].alike(&o) {
			all[n-1].Alike += 1 + o.Alike
			continue
		}
		all[n] = o
		n++
	}
	iv.Outliers = all[:min(n, MaxOutliers)]
}

// alike says whether two were in one batch and took as long: one line says it of both.
func (o *Outlier) alike(other *Outlier) bool {
	return o.Time.Equal(other.Time) && o.Queue == other.Queue && o.Type == other.Type && o.Ns == other.Ns
}

// Depth is how many of the requests counted were under way on average.
func (c *Counts) Depth(span time.Duration) float64 {
	return perSecond(float64(c.Ns[Total])/float64(time.Second), span)
}

func perSecond(n float64, span time.Duration) float64 {
	if span <= 0 {
		return 0
	}
	return n / span.Seconds()
}
