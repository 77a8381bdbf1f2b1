// Package guest boots a small Linux guest in QEMU on vhost-user-blk disks and runs shell
// commands in it, for end-to-end tests, the crash tester and the demonstration.
//
// The guest is Debian's cloud kernel, unpacked by scripts/setup under build/guest, with an
// initrd that this package builds there: busybox, the virtio modules, and ext4's tools, fio
// and fstrim of this machine with their shared libraries. It has no disk of its own:
// everything it writes goes to the disks under test; and no network but a card that Config.Args has.
//
//	vm, err := guest.Boot(ctx, guest.Config{Disks: []guest.Disk{{Socket: sock, Queues: 2}}})
//	out, err := vm.Run("mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt")
//	err = vm.PowerOff()
//
// # Glossary
//
//	agent    the shell loop in the initrd that runs commands for the host
//	port     the virtio-serial port between agent and host, named belay.agent
//	console  the guest's serial line: kernel messages, kept for error reports
//	monitor  QEMU's QMP socket
//	ledger   a program in the guest that compares memory and disk (ledger/doc.go)
//	clerk    a program in the guest that takes records over the network (clerk/doc.go)
//	shim     a library for QEMU, for migration under TCG (shim/condwait.c)
//	accel    what executes the guest's code: kvm, or tcg (translation), which is always
//	         there. KVM is used only after a probe guest really ran under it (accel.go).
//
// # The agent's protocol
//
// One line each way, so that no output of a command can be mistaken for a frame:
//
//	guest: hello BOOT-ID                      once per boot
//	host:  ID BASE64-OF-SCRIPT .
//	guest: done ID EXIT-CODE BASE64-OF-OUTPUT
//
// Commands run side by side; answers come in the order in which they end. A hello ends the
// commands of the boot before with ErrRebooted.
//
// A guest that goes on elsewhere (migration, failover) speaks to another host end, in the
// middle of whatever line it was. So the guest begins each line with a line break, commands end
// with a dot, what is no whole line is dropped, and ids are unique among all guests of this
// process. What was asked of the guest's old place is lost or answered there (takeover.go).
//
// # Time
//
// Nothing here waits without a limit. A guest that hangs, a QEMU that blocks in a read from
// a silent backend, a monitor that does not answer: each ends in an error that quotes the
// console's tail.
package guest
