package vhostuser

import (
	"sync"
	"sync/atomic"
)

// Stats are what a server has counted since it was made.
type Stats struct {
	Connected  bool
	Sessions   uint64 // connections served, the present one included
	Messages   uint64
	Refused    uint64 // messages that could not be obeyed
	RingStarts uint64
	RingErrors uint64   // rings that broke
	Requests   []uint64 // completed, by queue
}

// counters are the live form of Stats.
type counters struct {
	sessions, messages, refused, ringStarts, ringErrors atomic.Uint64
}

// queueCounts adds up what queues completed, over all their starts.
type queueCounts struct {
	mu   sync.Mutex
	live []*Queue // nil if not started
	past []uint64 // of earlier starts
}

func (c *queueCounts) size(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.live) < n {
		c.live, c.past = append(c.live, nil), append(c.past, 0)
	}
}

func (c *queueCounts) started(i int, q *Queue) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live[i] = q
}

func (c *queueCounts) stopped(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.past[i] += c.live[i].completed()
	c.live[i] = nil
}

func (c *queueCounts) read() []uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := append([]uint64(nil), c.past...)
	for i, q := range c.live {
		if q != nil {
			n[i] += q.completed()
		}
	}
	return n
}

// Stats reads the counters.
func (s *Server) Stats() Stats {
	return Stats{
		Connected:  s.Connected(),
		Sessions:   s.count.sessions.Load(),
		Messages:   s.count.messages.Load(),
		Refused:    s.count.refused.Load(),
		RingStarts: s.count.ringStarts.Load(),
		RingErrors: s.count.ringErrors.Load(),
		Requests:   s.queues.read(),
	}
}
