package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/belay-vm/belay/tools/pair"
)

// changed is how much the survivor writes before it gets its partner back: in blocks of 4 KiB, each
// once, all over the disk.
const changed = 10 << 20

// resync counts what the survivor of a failover has to send until its partner has the disk again. Only
// what is sent for the disk counts; the memory comes on top, and is the same for all.
func resync(ctx context.Context, l *lab, s subject, v values) (err error) {
	if v["sync_sent"], err = l.sent(s.diskPort); err != nil {
		return err
	}
	if err := l.moveGuest(ctx, s); err != nil {
		return err
	}
	r, err := fio(ctx, l.vms[pair.B], fmt.Sprintf("--rw=randwrite --bs=4k --ioengine=libaio --iodepth=16 "+
		"--size=%dM --io_size=%d", l.sizeMiB, changed), time.Minute)
	if err != nil {
		return err
	}
	if r.Write.Bytes != changed {
		return fmt.Errorf("the guest wrote %d bytes, not %d", r.Write.Bytes, changed)
	}
	before, err := l.sent(s.diskPort)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := s.resync(ctx, l); err != nil {
		return err
	}
	v["resync_s"] = time.Since(begun).Seconds()
	after, err := l.sent(s.diskPort)
	v["resync_sent"], v["resync_per_changed"] = after-before, (after-before)/changed
	return err
}

// moveGuest kills the primary's host and has the guest answer at the secondary.
func (l *lab) moveGuest(ctx context.Context, s subject) error {
	if err := l.loseHost(ctx, s, values{}); err != nil { // how long that takes is another part's
		return err
	}
	return l.vms[pair.B].TakeOver(ctx)
}

// contents is a file of the disk's size, of random bytes.
func (l *lab) contents() (path string, err error) {
	path = l.net.Side(pair.A).Path("contents")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.CopyN(f, rand.Reader, l.sizeMiB<<20)
	return path, err
}
