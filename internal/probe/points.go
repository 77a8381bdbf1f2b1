package probe

import "unsafe"

// Requests tells of a batch of requests that were published together. inflight is how many the
// queue still has. The records may be reused when it returns.
func Requests(records []Request, volume, inflight uint64) {
	requests(unsafe.SliceData(records), uint64(len(records)), volume, inflight)
}
