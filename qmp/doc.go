// Package qmp speaks to QEMU's monitors: commands with deadlines, events in order, and what a
// mirrored pair needs of both. The protocol is QEMU's docs/interop/qmp-spec.txt.
//
// # Words
//
//	monitor   one connection to QEMU. A QMP server socket serves one client at a time; a
//	          second one is accepted and hears nothing, so belay has sockets of its own.
//	ordinary  a command that QEMU's main loop executes, one after the other. It waits for the
//	          big lock, which a migration may hold for long.
//	OOB       out of band: a command that the monitor's own thread executes at once, whatever
//	          the main loop does. QEMU allows it for few; yank is one.
//	barrier   an OOB command without effect (yank of nothing). QEMU writes events and answers of
//	          one monitor in order, so behind its answer no older event can come.
//	large     said of an answer that go-qemu could not read
//	session   greeting, negotiation, commands: what one client has with one server
//	gap       time in which events may have been raised that nobody was told
//
// # Parts
//
//	Client    both of one QEMU, and a method for each command that we use (command.go, query.go)
//	Link      a connection of our own (link.go): events as a queue (queue.go), commands
//	          matched by id, ordinary and OOB, barriers
//	Monitor   go-qemu's SocketMonitor (goqemu.go) behind a guard (monitor.go)
//	Watcher   a Client, and the next one when QEMU comes again (watch.go)
//
// # Why two connections
//
// go-qemu is what this project runs ordinary commands on, but it knows no OOB, and its events
// and answers share one unbuffered path, so it can offer neither a barrier nor an event while a
// command waits. Both are what a COLO pair stands on. With one socket everything goes over
// the Link.
//
// # What ends what
//
//	                                   Link                    Monitor
//	a command's deadline passes        the command             the Monitor
//	QEMU refuses a command             the command             the command
//	QEMU ends, the connection breaks   the Link                the Monitor
//	a line that is no QMP, too long,
//	or an answer to nothing            the Link                the Monitor
//	nobody takes events                the Link                -
//
// A Link's end is a gap in the events, after which a secondary cannot know what its memory is;
// hence it does not end only because QEMU is slow. A Monitor cannot tell a late answer from
// the next command's, so it ends. What has ended stays so, with its cause; a Client whose
// Monitor died goes on over its Link, and a Watcher makes a new Client when the Link ended.
//
// # What is not checked
//
// QEMU is trusted to mean what it says: it runs the guest and could do it any harm. What is checked
// is form, length and number, so that a broken or wrong peer is one error and not a hang.
package qmp
