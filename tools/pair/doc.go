// Package pair runs two QEMUs as a COLO pair, for end-to-end tests and measurements: each in
// a network namespace of its own, with a link between them that can be cut.
//
//	net, err := pair.NewNet()
//	p, err := net.Side(pair.A).Boot(ctx, guest.Config{Disks: ...})
//	s, err := net.Side(pair.B).Boot(ctx, guest.Config{Disks: ..., Incoming: net.Side(pair.B).URI(4444)})
//	err = p.StartCOLO(ctx, s, net.Side(pair.B).URI(4444), 500*time.Millisecond)
//	err = p.Checkpoints(ctx, 20)
//	p.Kill()
//	err = s.Failover(ctx)
//	err = s.TakeOver(ctx)
//
// A Machine is a guest.VM; its package says which guest it is, how it is spoken to, and what
// QEMU needs on machines without KVM. The guest has the program ledger, which compares its
// memory with its disk all the time (Machine.StartLedger).
//
// # Words
//
//	side      a host: namespace, address, and a directory for sockets
//	wire      the namespace between the sides; it forwards packets, or does not
//	link      the way from side to side. To cut it is to lose packets without a word, as a broken
//	          switch does: nobody sees a carrier go.
//	hold      to stop a QEMU's process, so that what it is about takes as long as a test needs
//	lan       the guest's own network, with whoever speaks with it (Net.AddLAN)
//	machine   a QEMU, with the events that it raised and the lines that its guest printed
//	pause     of a machine at a checkpoint: from when its virtual CPUs stand until they go on
//
// # Monitors
//
// A QMP socket serves one client, so each machine has several: one of package guest's, two for
// belay (Machine.QMP), one for the recorder of events (Machine.Events). StartCOLO and Failover
// do by hand what belay does in a real pair; they use belay's sockets, and must not be used
// while a belay does.
//
// # Pauses
//
// QEMU raises STOP when the disks' rings have stopped already, so STOP to RESUME lacks what
// a backend makes the guest wait. QEMU's trace point vm_state_notify comes before: Pauses has
// both figures.
package pair
