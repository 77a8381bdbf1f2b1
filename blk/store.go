package blk

import "github.com/belay-vm/belay/internal/bio"

// Store is the disk behind a device. Any goroutine may call it.
type Store interface {
	// Size is the disk's length in bytes, a multiple of bio.SectorSize. It may change.
	Size() int64
	// ReadOnly reports whether changes are refused. It does not change.
	ReadOnly() bool
	// NewLane opens a way into the disk for the calling thread, with at most depth requests in
	// flight, that moves data with eng.
	NewLane(depth int, eng bio.Engine) (bio.Lane, error)
}

// CacheKeeper is a Store that remembers whether the guest switched its write cache off. A front
// end says so once, also if its server is restarted later.
type CacheKeeper interface {
	WriteThrough() (bool, error)
	SetWriteThrough(on bool) error
}
