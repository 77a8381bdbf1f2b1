package sim

import (
	"container/heap"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"
)

// happening is something that is due.
type happening struct {
	at  time.Duration
	seq uint64
	do  func()
}

type agenda []happening

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, k int) bool {
	return a[i].at < a[k].at || a[i].at == a[k].at && a[i].seq < a[k].seq
}
func (a agenda) Swap(i, k int) { a[i], a[k] = a[k], a[i] }
func (a *agenda) Push(h any)   { *a = append(*a, h.(happening)) }
func (a *agenda) Pop() any {
	last := len(*a) - 1
	h := (*a)[last]
	(*a)[last] = happening{}
	*a = (*a)[:last]
	return h
}

// clock is the world's time and what is to come in it.
type clock struct {
	rng    *rand.Rand
	now    time.Duration
	seq    uint64
	agenda agenda
	goTo   func(time.Duration) bool // lets time pass; false: something came in between
}

func (c *clock) after(d time.Duration, do func()) {
	c.seq++
	heap.Push(&c.agenda, happening{c.now + d, c.seq, do})
}

// between is a random time; short ones are more likely.
func (c *clock) between(least, most time.Duration) time.Duration {
	f := c.rng.Float64()
	return least + time.Duration(f*f*float64(most-least))
}

func (c *clock) chance(p float64) bool { return c.rng.Float64() < p }

// runUntil lets everything happen that is due by then, or until stop says so.
func (c *clock) runUntil(t time.Duration, stop func() bool) {
	for len(c.agenda) > 0 && c.agenda[0].at <= t && !stop() {
		if !c.goTo(c.agenda[0].at) {
			continue
		}
		heap.Pop(&c.agenda).(happening).do()
	}
}

// pipe carries messages in their order, each with a delay of its own.
type pipe struct {
	*clock
	least, most time.Duration
	last        time.Duration
	cut         bool
	slow        time.Duration // added to every delay
}

func (p *pipe) send(do func()) {
	at := max(p.last, p.now+p.slow+p.between(p.least, p.most))
	p.last = at
	p.after(at-p.now, func() {
		if !p.cut {
			do()
		}
	})
}

// What ends a process's wait.
var (
	errKilled = errors.New("killed")
	errBroken = errors.New("migration connection broken")
)

// process is a sequence of steps that waits in between, on the world's time.
type process struct {
	*clock
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
	woken bool
	over  bool
}

// spawn starts a process; it runs when the world's time goes on.
func (c *clock) spawn(run func(*process)) *process {
	p := &process{clock: c}
	p.next, p.stop = iter.Pull(func(yield func(struct{}) bool) {
		p.yield = yield
		run(p)
		p.over = true
	})
	p.wake()
	return p
}

// wake lets a waiting process look again.
func (p *process) wake() {
	if p.woken || p.over {
		return
	}
	p.woken = true
	p.after(0, func() {
		p.woken = false
		if !p.over {
			p.next()
		}
	})
}

// kill ends it at its next look. It must not be called by the process itself.
func (p *process) kill() {
	if !p.over {
		p.over = true
		p.after(0, p.stop)
	}
}

// until waits for a condition; who makes it true wakes the process.
func (p *process) until(cond func() bool) error {
	for !p.over {
		if cond() {
			return nil
		}
		if !p.yield(struct{}{}) {
			break
		}
	}
	return errKilled
}

// trace remembers the newest lines for a failure's report.
type trace struct {
	on    bool
	lines []string
}

func (t *trace) addf(now time.Duration, format string, args ...any) {
	if t.on {
		t.lines = append(t.lines, fmt.Sprintf("%12v  ", now)+fmt.Sprintf(format, args...))
	}
}
