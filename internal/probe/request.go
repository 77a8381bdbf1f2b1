package probe

// Type is a sort of request. Its values are those of Request.Type.
type Type uint8

// The types of requests. Other are those of unknown type, or too short to have one.
const (
	Read Type = iota
	Write
	Flush
	Discard
	WriteZeroes
	GetID
	Other
	NumTypes
)

var typeNames = [NumTypes]string{"read", "write", "flush", "discard", "write_zeroes", "get_id", "other"}

// String is the type's name, as metrics and maps carry it.
func (t Type) String() string {
	if t >= NumTypes {
		return "unknown"
	}
	return typeNames[t]
}

// Request is the record of one request that was published: 80 bytes, whose layout is an interface
// (struct request in bpf/c, docs/TRACING.md). Times are nanoseconds of CLOCK_MONOTONIC, which is the clock of
// bpf_ktime_get_ns; each is read once for a batch of requests, not for each of them.
//
// The parts of a request's time are ring (Taken-Looked), device (Device), publication
// (Published-Settled) and store (the rest). They add up to Published-Looked.
type Request struct {
	// Looked is when it was not yet in the ring: the last look that did not find it, so that it
	// cannot have waited longer; if the worker slept, when it was woken.
	Looked    uint64
	Taken     uint64 // out of the ring
	Handed    uint64 // first to the device below; 0 if it never was
	Completed uint64 // by the device, for the last time; 0 if it never got there
	Settled   uint64 // its effect is in the store
	Published uint64 // the guest can see its answer and was notified

	// Device is for how many nanoseconds at least one of its operations was with the device, the
	// base image included. For a flush these are the syncs that answered it.
	Device uint64

	Sector uint64 // of 512 bytes; the first one of the first range
	Epoch  uint64 // the open one when it settled: the number that the next checkpoint gets, which holds it
	Bytes  uint32 // of data that it asked for; saturated
	Queue  uint16
	Type   Type
	Status uint8 // what the guest was told: virtio's OK (0), IOERR (1), UNSUPP (2)
}

// Ring is for how many nanoseconds it waited in the ring, at most.
func (r *Request) Ring() uint64 { return r.Taken - r.Looked }

// Store is for how many nanoseconds it was in belay's own hands, or waited there.
func (r *Request) Store() uint64 { return r.Settled - r.Taken - r.Device }

// Publication is for how many nanoseconds its answer was on its way to the guest.
func (r *Request) Publication() uint64 { return r.Published - r.Settled }

// Total is the sum of all parts, in nanoseconds.
func (r *Request) Total() uint64 { return r.Published - r.Looked }
