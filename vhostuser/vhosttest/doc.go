// Package vhosttest plays the other side of vhost-user: a front end with guest memory in
// memfds, a driver for split and packed rings, and a small virtio-blk client on top.
//
// It exists for tests and for the load and crash tools, and drives any vhost-user back end,
// not ours alone. Its constants are written down a second time on purpose, from the
// specification and from traces of QEMU: a wrong number in package vhostuser is not repeated
// here.
//
// # Use
//
// Connect does what QEMU does when it realizes a device, Start what it does when the guest's
// driver is ready:
//
//	f, err := vhosttest.Connect(path, vhosttest.Options{Queues: 2, Inflight: true})
//	...
//	defer f.Close()
//	err = f.Start()
//	disk, err := vhosttest.NewDisk(f.Queue(0), 32, 64<<10)
//	err = disk.Write(0, data)
//
// Every message has its own method, so that a test can leave one out, repeat it or send it
// at the wrong time; Send and Recv take raw messages for what no honest front end would say.
//
// # Who may use what
//
// A FrontEnd belongs to one goroutine. Each Driver, and the Disk on it, may be used by one
// other goroutine while the FrontEnd is left alone or sends messages that concern other
// queues.
//
// # Glossary
//
//	guest address   index into Memory's bytes; what descriptors hold
//	user address    where the front end claims to have mapped it; what ring addresses hold
//	kick, call      eventfds: the driver's way to wake the device, and back
//	base            the ring index that SET_VRING_BASE and GET_VRING_BASE speak of
package vhosttest
