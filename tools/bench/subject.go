package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
)

// subject is something that can be loaded.
type subject interface {
	title() string
	what() string // in which state it is, and where
	// measure loads it once and says how it did.
	measure(ctx context.Context, l *lab, ld load, p placement) (values, error)
	// prepare makes ready what stays from one measurement to the next. It may be asked again.
	prepare(ctx context.Context, l *lab) error
	needs() needs
}

// needs is what a subject takes from the machine.
type needs struct {
	qemu, fio    bool // programs
	disk, memory int  // room, in sizes of the working set
	fresh        bool // not for longer than a measurement
}

// backend is a subject behind a socket.
type backend struct {
	name, state string
	memory      bool // it lies in /dev/shm, not on the disk
	fresh       bool // it is made anew for each measurement, and taken away behind it
	volume      bool // it is belay's: it has a control socket
	room        int  // see needs

	// create makes what is served in the directory at, and returns the command that serves it.
	create func(ctx context.Context, l *lab, at, socket string) ([]string, error)
	// settle brings it into the state that it is measured in; nil: it is in it.
	settle func(ctx context.Context, l *lab, s *server) error
}

// The entries' back ends. Belay's have the name that their row's targets speak of.
var (
	steady = &backend{name: "belay", state: "written in order, then overwritten at random once",
		volume: true, room: 2, create: createVolume, settle: scatter}
	ordered = &backend{name: "belay", state: "written in order, twice",
		volume: true, room: 2, create: createVolume, settle: fillTwice}
	roomy = &backend{name: "belay, --slack 200", state: "the same with room for twice its data",
		volume: true, room: 4, create: createRoomy, settle: scatter}
	fresh = &backend{name: "belay, fresh volume", state: "never written",
		volume: true, fresh: true, room: 2, create: createVolume}
	overBase = &backend{name: "belay over a base", state: "never written, over a raw base",
		volume: true, fresh: true, room: 2, create: createOverBase}
	inMemory = &backend{name: "belay", state: "written in order, then overwritten at random once; in /dev/shm",
		volume: true, memory: true, room: 2, create: createVolume, settle: scatter}

	qsdRaw = &backend{name: "qsd raw", state: "a raw file, written in order",
		create: serveRaw}
	qsdThread = &backend{name: "qsd raw, iothread", state: "the same raw file, served by an iothread",
		create: serveRawByThread}
	qsdFresh = &backend{name: "qsd qcow2, fresh", state: "never written",
		fresh: true, room: 1, create: serveQcow2}
	qsdOverlay = &backend{name: "qsd qcow2 overlay", state: "never written, over a raw base",
		fresh: true, room: 1, create: serveOverlay}
	qsdMemory = &backend{name: "qsd raw", state: "a raw file, written in order; in /dev/shm",
		memory: true, create: serveRaw}
)

func (b *backend) title() string { return b.name }
func (b *backend) what() string  { return b.state }

func (b *backend) needs() needs {
	n := needs{qemu: !b.volume, fresh: b.fresh, disk: b.room}
	if b.memory {
		n.disk, n.memory = 0, b.room
	}
	return n
}

func (b *backend) prepare(ctx context.Context, l *lab) error {
	if b.fresh {
		return nil
	}
	_, err := l.server(ctx, b)
	return err
}

func (b *backend) measure(ctx context.Context, l *lab, ld load, p placement) (values, error) {
	s, err := l.server(ctx, b)
	if err != nil {
		return nil, err
	}
	v, err := l.drive(ctx, s, ld, p)
	if err != nil {
		return nil, s.blame(err)
	}
	if b.fresh {
		return v, l.drop(s)
	}
	return v, s.rest(ctx)
}

// createVolume makes a volume as its manual says, without a flag beyond the size.
func createVolume(ctx context.Context, l *lab, at, socket string) ([]string, error) {
	return l.createVolume(ctx, at, socket)
}

func createRoomy(ctx context.Context, l *lab, at, socket string) ([]string, error) {
	return l.createVolume(ctx, at, socket, "--slack", "200")
}

func createOverBase(ctx context.Context, l *lab, at, socket string) ([]string, error) {
	base, err := l.image(ctx, "base", false)
	if err != nil {
		return nil, err
	}
	return l.createVolume(ctx, at, socket, "--base", base)
}

func (l *lab) createVolume(ctx context.Context, at, socket string, more ...string) ([]string, error) {
	volume := filepath.Join(at, "volume")
	args := append([]string{l.o.belay, "create", volume, "--size", strconv.FormatInt(l.o.bytes(), 10)}, more...)
	if err := l.run(ctx, args...); err != nil {
		return nil, err
	}
	return []string{l.o.belay, "serve", volume, "--socket-path", socket}, nil
}

// scatter fills a disk in order and then overwrites it at random, as many blocks as it has: each
// on average once.
func scatter(ctx context.Context, l *lab, s *server) error {
	if err := l.fill(ctx, s); err != nil {
		return err
	}
	_, err := l.drive(ctx, s, load{write: true, bs: 4 * kib, depth: 32, share: 1}, apart)
	return err
}

func fillTwice(ctx context.Context, l *lab, s *server) error {
	if err := l.fill(ctx, s); err != nil {
		return err
	}
	return l.fill(ctx, s)
}

// qsd is the command of a qemu-storage-daemon that exports the node d.
func qsd(socket string, nodes ...string) []string {
	args := []string{storageDaemon}
	for _, n := range nodes {
		args = append(args, "--blockdev", n)
	}
	return append(args, "--export", "type=vhost-user-blk,id=e,node-name=d,writable=on,num-queues=1,"+
		"addr.type=unix,addr.path="+socket)
}

// file is a node on a file. Several servers and fio share the raw file, one at a time: it is not
// locked.
func file(node, path, more string) string {
	return fmt.Sprintf("driver=file,node-name=%s,filename=%s,cache.direct=on,aio=io_uring%s", node, path, more)
}

func serveRaw(ctx context.Context, l *lab, at, socket string) ([]string, error) {
	raw, err := l.image(ctx, "raw", l.inMemory(at))
	return qsd(socket, file("d", raw, ",locking=off")), err
}

func serveRawByThread(ctx context.Context, l *lab, at, socket string) ([]string, error) {
	raw, err := l.image(ctx, "raw", false)
	args := qsd(socket, file("d", raw, ",locking=off"))
	args[len(args)-1] += ",iothread=io"
	return append([]string{args[0], "--object", "iothread,id=io"}, args[1:]...), err
}

func serveQcow2(ctx context.Context, l *lab, at, socket string) ([]string, error) {
	image := filepath.Join(at, "qcow2")
	err := l.run(ctx, qemuImg, "create", "-q", "-f", "qcow2", image, strconv.FormatInt(l.o.bytes(), 10))
	return qsd(socket, file("f", image, ""), "driver=qcow2,node-name=d,file=f"), err
}

func serveOverlay(ctx context.Context, l *lab, at, socket string) ([]string, error) {
	base, err := l.image(ctx, "base", false)
	if err != nil {
		return nil, err
	}
	image := filepath.Join(at, "overlay")
	err = l.run(ctx, qemuImg, "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", image)
	return qsd(socket, file("bf", base, ",read-only=on"), "driver=raw,node-name=b,file=bf,read-only=on",
		file("f", image, ""), "driver=qcow2,node-name=d,file=f,backing=b"), err
}
