package checkpoint

import (
	"github.com/belay-vm/belay/internal/bio"
	"github.com/belay-vm/belay/internal/probe"
)

// A lane tells its requests how long the device had them (bio.Times). It reads the clock once for
// all operations that it starts together and once for all completions that came together.

// handOver notes that the device gets what was planned.
func (l *lane) handOver() {
	if len(l.out) == 0 {
		return
	}
	now := probe.Now()
	l.seen = 0
	for _, o := range l.out {
		if o.kind == opZero {
			continue
		}
		for _, w := range o.works {
			if w.since == 0 {
				w.since = now
			}
		}
	}
}

// handedBack notes that the device has none of a work's operations any more.
func (l *lane) handedBack(w *work) {
	if w.since == 0 {
		return
	}
	if l.seen == 0 {
		l.seen = probe.Now()
	}
	spent{w.since, l.seen, l.seen - w.since}.addTo(w.req)
	w.since = 0
}

// spent is a stretch of time in which the device had something for ns nanoseconds.
type spent struct{ from, to, ns uint64 }

func (t spent) addTo(r *bio.Request) {
	if t.from == 0 {
		return
	}
	if r.Handed == 0 {
		r.Handed = t.from
	}
	r.Completed = t.to
	r.Device += t.ns
}

// timed does something that makes the device work and counts it.
func (t *spent) timed(do func() error) (ns uint64, err error) {
	from := probe.Now()
	err = do()
	t.to = probe.Now()
	if t.from == 0 {
		t.from = from
	}
	ns = t.to - from
	t.ns += ns
	return ns, err
}
