// Belay serves virtual machines' disks from a redirect-on-write store and is the tool to look
// after them.
//
// The command is wiring. A verb is one file: its flags, one call on a control.Volume, and how
// the answer is printed. Whether the Volume is a store opened here (store.go) or the client of
// a process that serves it (internal/control) is decided in one place, volume.go, and no verb
// knows.
//
// # Words
//
//	verb      a subcommand
//	served    held by another process that answers on the volume's control socket
//	offline   opened by this process for one verb
//	target    the file or device that an export fills
//	front end the hypervisor's side of the vhost-user socket
//
// # Exit codes
//
// 0 done, 1 failed, 2 used wrongly. A failure is one line on stderr that begins with "belay: ".
package main
