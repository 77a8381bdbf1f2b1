// Package vhostuser is the back end of the vhost-user protocol: it lends its process to a
// virtual machine as a device. It knows messages, guest memory and rings, and nothing of
// what a device does with its requests: that is a Device, such as the one in package blk.
//
// A front end (QEMU) connects to a UNIX socket, passes the guest's memory as files and says
// where in it the rings are. From then on guest and device talk through the rings and two
// eventfds per ring, without the front end.
//
// # The two sides
//
// The control side is a Server with one session at a time: it reads messages (conn, message),
// keeps what the front end said (session) and starts and stops queues.
//
// The ring side is a Queue per started ring. A device's Run takes chains with Next, moves
// their data, gives them back with Complete and shows a batch of them with Publish. Below it
// lie the split and the packed ring, the walk of descriptor chains, the memory table, the
// dirty log and the inflight region.
//
// # Trust
//
// The guest is hostile, and so is every byte of its memory at every moment. Each word is read
// once and judged afterwards; every index, address and length is compared with a limit before
// use; every walk has a bound. A malformed chain ends the request (ChainError), a broken ring
// ends the ring (RingError), a bad message ends the session; the process goes on. Memory whose
// file was truncated gives ErrFault instead of a signal.
//
// The front end gets less distrust: it owns the guest's memory anyway. Whatever it sends is
// checked so that it cannot crash or hang this process.
//
// # Order
//
// Three parties look at shared memory while we write to it, and each order below is what one
// of them relies on:
//
//   - the guest: data, then used elements, then the used index (split) or the first used
//     descriptor's flags (packed), then our look at its event word;
//   - a front end that migrates: data, then its dirty bit, then the used element;
//   - a backend that takes over when we die: the inflight entry before the chain is worked
//     on, the batch list before the used index, the used index before the entry is cleared.
//
// # Glossary
//
// The words are the specifications' (virtio 1.2; vhost-user, in QEMU's docs/interop).
//
//   - available, used: what the guest offers to the device; what the device gives back.
//   - chain: the descriptors of one request, first the readable, then the writable ones.
//   - descriptor: address, length and flags of one piece of guest memory.
//   - front end, back end: the process that runs the guest; this one.
//   - guest address, user address: of the guest's physical memory; of the same memory in the
//     front end's address space. Descriptors hold the first, SET_VRING_ADDR the second.
//   - indirect table: descriptors outside the ring, named by one descriptor in it.
//   - inflight region: what a back end notes of chains it took, for its successor.
//   - kick, call: the eventfds from the guest to the device, and back.
//   - lap, wrap counter: one round of a packed ring; the bit that changes with each.
//   - piece, vector: contiguous memory of one descriptor in this process (an iovec).
//   - place, spot: a descriptor's position in a packed ring; with its wrap counter.
//   - publish: to show the guest a batch of used elements at once.
//   - region: a contiguous range of guest memory, backed by a file; the memory table is all
//     of them.
//   - ring, queue: the shared memory; what serves it here.
package vhostuser
