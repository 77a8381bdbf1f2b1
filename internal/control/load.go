package control

import "context"

// Load is what a device has counted since its process began, finer than metrics have it: for
// programs that take the difference of two.
type Load struct {
	At     uint64      `json:"at_ns"` // of CLOCK_MONOTONIC
	Queues []QueueLoad `json:"queues"`
}

// QueueLoad is what one queue has counted of one type of requests.
type QueueLoad struct {
	Queue    int    `json:"queue"`
	Type     string `json:"type"` // read, write, flush, ...
	Requests uint64 `json:"requests"`
	Bytes    uint64 `json:"bytes"`
	Errors   uint64 `json:"errors"`
	Ns       uint64 `json:"ns"` // sum of the latencies

	// Latency are pairs of a slot and what it counts, without the slots that count nothing. What a
	// slot is, is the same as in recordings of belay trace.
	Latency [][2]uint64 `json:"latency"`
}

// Loaded is a Volume whose device counts: one that is served.
type Loaded interface {
	Load(ctx context.Context) (Load, error)
}

var _ Loaded = (*Client)(nil)

// Load asks for what the device has counted.
func (c *Client) Load(ctx context.Context) (Load, error) {
	return ask[Load](ctx, c, "GET", "load", nil)
}
