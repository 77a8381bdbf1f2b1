package probe

import "unsafe"

// MaxRequests is the most records of one call of Requests: who reads them needs a bound.
const MaxRequests = 256

// Requests tells of a batch of requests that were published together, at most MaxRequests of them.
// inflight is how many the queue still has. The records may be reused when it returns.
func Requests(records []Request, volume, inflight uint64) {
	requests(unsafe.SliceData(records), uint64(len(records)), volume, inflight)
}
