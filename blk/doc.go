// Package blk is a virtio block device (virtio 1.2, section 5.2) on the rings of package
// vhostuser and on any disk that satisfies Store.
//
// # Words
//
//   - chain: the descriptors of one request, as vectors into guest memory
//   - request: a chain on its way through the device; a fixed table of them per queue
//   - readable part, writable part: what the device may read, then what it may write. A request
//     is the concatenation of each: header and data of a write or of ranges in the first, data
//     of a read and the status byte in the second. Where descriptors end means nothing.
//   - range: one 16-byte element of a discard or write-zeroes request
//   - write cache (wce): whether a completed write may still be lost in a power cut. Off, the
//     device completes a write when a flush has followed it.
//   - worker: the thread of one queue, with its engine and its lane into the store
//   - round: one turn of a worker: take chains, start them, wait, settle, publish
//
// # How a queue is served
//
// A worker waits in one place, its engine, for everything: kicks, the end of service, the
// store's wake-ups and the data it moves. It takes all chains it finds, hands them to the lane as
// one batch, and publishes all that has finished with one notification. Guest data is moved by
// the kernel, straight from and to guest memory; the device itself touches guest memory only to
// copy headers in and status bytes out. Nothing is allocated per request.
//
// # What a guest can do wrong
//
// Every request gets the answer that the specification has for it: IOERR for what is misaligned,
// outside the disk, read-only or failed, UNSUPP for what the device does not know. A chain that is
// malformed, or has no place for a status, is given back with nothing written.
package blk
