package trace

import (
	"encoding/json"
	"errors"
	"maps"

	"github.com/belay-vm/belay/internal/hist"
)

// Part is a stretch of a request's way.
type Part int

// The parts, in the order of the way; Total is from the ring to the notification.
const (
	Total Part = iota
	Ring
	Store
	Device
	Publication
	NumParts
)

var partNames = [NumParts]string{"total", "ring", "store", "device", "publication"}

func (p Part) String() string { return partNames[p] }

// Times are those of the parts, in ns.
type Times [NumParts]uint64

// MarshalJSON writes an object with a member for each part.
func (t Times) MarshalJSON() ([]byte, error) {
	named := map[string]uint64{}
	for p, ns := range t {
		named[partNames[p]+"_ns"] = ns
	}
	return json.Marshal(named)
}

// UnmarshalJSON reads such an object, and demands all parts and nothing else.
func (t *Times) UnmarshalJSON(b []byte) error {
	var named map[string]uint64
	if err := json.Unmarshal(b, &named); err != nil {
		return err
	}
	for p := range t {
		ns, ok := named[partNames[p]+"_ns"]
		if !ok || len(named) != len(t) {
			return errors.New("not the times of all parts")
		}
		t[p] = ns
	}
	return nil
}

// Types of requests, in the order in which they are listed.
var Types = []string{"read", "write", "flush", "discard", "write_zeroes", "get_id", "other"}

// Sizes are the classes of requests by their bytes.
var Sizes = []string{"none", "<=4K", "<=16K", "<=64K", "<=256K", ">256K"}

// Key says which requests are counted together.
type Key struct {
	Queue uint16 `json:"queue"`
	Type  string `json:"type"`
	Size  string `json:"size,omitempty"` // one of Sizes, or empty for all of them
}

// Counts is what was counted of the requests of one key. Ns are sums.
type Counts struct {
	Requests, Bytes, Errors uint64

	Ns    Times
	Parts [NumParts]hist.Histogram
}

// Add counts what other has counted.
func (c *Counts) Add(other *Counts) {
	c.Requests += other.Requests
	c.Bytes += other.Bytes
	c.Errors += other.Errors
	for p := range NumParts {
		c.Ns[p] += other.Ns[p]
		c.Parts[p].Add(&other.Parts[p])
	}
}

// since returns what was counted after earlier. Counters that went back were begun anew: all of them
// is new then.
func (c *Counts) since(earlier *Counts) *Counts {
	d := *c
	if earlier == nil || earlier.Requests > c.Requests {
		return &d
	}
	d.Requests = behind(c.Requests, earlier.Requests)
	d.Bytes = behind(c.Bytes, earlier.Bytes)
	d.Errors = behind(c.Errors, earlier.Errors)
	for p := range NumParts {
		d.Ns[p] = behind(c.Ns[p], earlier.Ns[p])
		histogramSince(&d.Parts[p], &earlier.Parts[p])
	}
	return &d
}

func histogramSince(h, earlier *hist.Histogram) {
	for slot := range h {
		h[slot] = behind(h[slot], earlier[slot])
	}
}

// behind is the difference of a counter's readings, and never a huge one by a counter that went back.
func behind(now, earlier uint64) uint64 {
	if now < earlier {
		return now
	}
	return now - earlier
}

// Layers of the kernel, from above. What block devices do is counted twice: until the driver has a
// request, and from there on.
var Layers = []string{"io_uring", "block queue", "block device"}

// KernelKey names an operation that the kernel did for the process.
type KernelKey struct {
	Layer string `json:"layer"` // one of Layers
	Op    string `json:"op"`
}

// Kernel is what was counted of it.
type Kernel struct {
	Operations, Bytes, Errors uint64
	Punted                    uint64 // handed to a worker thread of the kernel

	Ns      uint64
	Latency hist.Histogram
}

// Add counts what other has counted.
func (k *Kernel) Add(other *Kernel) {
	k.Operations += other.Operations
	k.Bytes += other.Bytes
	k.Errors += other.Errors
	k.Punted += other.Punted
	k.Ns += other.Ns
	k.Latency.Add(&other.Latency)
}

func (k *Kernel) since(earlier *Kernel) *Kernel {
	d := *k
	if earlier == nil || earlier.Operations > k.Operations {
		return &d
	}
	d.Operations = behind(k.Operations, earlier.Operations)
	d.Bytes = behind(k.Bytes, earlier.Bytes)
	d.Errors = behind(k.Errors, earlier.Errors)
	d.Punted = behind(k.Punted, earlier.Punted)
	d.Ns = behind(k.Ns, earlier.Ns)
	histogramSince(&d.Latency, &earlier.Latency)
	return &d
}

// Snapshot is what was counted up to a moment.
type Snapshot struct {
	At     uint64 // of CLOCK_MONOTONIC, in ns
	Groups map[Key]*Counts
	Kernel map[KernelKey]*Kernel
	Tally
}

// Tally are the counters that belong to no request.
type Tally struct {
	Kicks         uint64 `json:"kicks"`
	Notifications uint64 `json:"notifications"`
	Dropped       uint64 `json:"dropped_events"` // events for which there was no room
	Lost          uint64 `json:"lost_requests"`  // requests that were not counted
	FlushRounds   uint64 `json:"flush_rounds"`
	FlushNs       uint64 `json:"flush_rounds_ns"` // their times, added up
}

// add counts what other has counted.
func (t *Tally) add(other Tally) {
	t.Kicks += other.Kicks
	t.Notifications += other.Notifications
	t.Dropped += other.Dropped
	t.Lost += other.Lost
	t.FlushRounds += other.FlushRounds
	t.FlushNs += other.FlushNs
}

func (t Tally) since(earlier Tally) Tally {
	return Tally{
		Kicks:         behind(t.Kicks, earlier.Kicks),
		Notifications: behind(t.Notifications, earlier.Notifications),
		Dropped:       behind(t.Dropped, earlier.Dropped),
		Lost:          behind(t.Lost, earlier.Lost),
		FlushRounds:   behind(t.FlushRounds, earlier.FlushRounds),
		FlushNs:       behind(t.FlushNs, earlier.FlushNs),
	}
}

// addAll adds the counts of a map to those of another.
func addAll[K comparable, C any](to, from map[K]*C, add func(to, from *C)) {
	for key, c := range from {
		if to[key] == nil {
			to[key] = new(C)
		}
		add(to[key], c)
	}
}

// sinceAll returns what was counted after earlier, without the keys for which there is nothing.
func sinceAll[K comparable, C any](now, earlier map[K]*C, since func(now, earlier *C) *C,
	empty func(*C) bool) map[K]*C {
	d := map[K]*C{}
	for key, c := range now {
		d[key] = since(c, earlier[key])
	}
	maps.DeleteFunc(d, func(_ K, c *C) bool { return empty(c) })
	return d
}
