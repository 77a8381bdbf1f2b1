//go:build e2e

package e2e

import (
	"strconv"
	"time"

	"github.com/belay-vm/belay/tools/daemon"
)

// checkKill kills the server under the guest's load, several times. QEMU reconnects within
// a second of the server's return; the guest sees slow requests and no error.
func (w *world) checkKill() {
	w.unflushed()
	if !needs(w.t, recovery) {
		return
	}
	done := w.inBackground("--directory=/mnt --size=16M --bs=4k")
	for range 3 {
		w.server.Kill()
		w.serve()
		w.awaitRequests(200)
	}
	w.wait(done)
	w.verify("files")
	w.noErrors()
}

// unflushed kills the server between writes that were completed, with no flush after them,
// and their being read back: the process died, not the machine.
func (w *world) unflushed() {
	const area = "--name=u --filename=/mnt/unflushed --size=16M --bs=4k --direct=1 " +
		"--ioengine=libaio --iodepth=32 --rw=randwrite --verify=crc32c --verify_fatal=1 --output=/tmp/fio.log "
	// The file is there before, so that only its data change from now on.
	w.sh("head -c 16777216 /dev/zero >/mnt/unflushed; sync")
	w.sh("fio %s --do_verify=0 || { cat /tmp/fio.log; exit 1; }", area)
	w.server.Kill()
	w.serve()
	w.sh("fio %s --verify_only || { cat /tmp/fio.log; exit 1; }", area)
	w.verify("files")
}

// inBackground starts fio with checksums in the guest and waits until it is at work.
func (w *world) inBackground(args string) <-chan error {
	w.t.Helper()
	done := make(chan error, 1)
	before := w.requests()
	go func() {
		_, err := w.vm.Run(fioVerify + args + " || { cat /tmp/fio.log; exit 1; }")
		done <- err
	}()
	w.awaitMore(before, 50)
	return done
}

// wait is for the end of what inBackground started.
func (w *world) wait(done <-chan error) {
	w.t.Helper()
	if err := <-done; err != nil {
		w.t.Fatalf("fio under load: %v\nthe server's log:\n%s", err, w.server.Log())
	}
}

// requests is the number of requests that the guest's disk has completed.
func (w *world) requests() int {
	w.t.Helper()
	n, err := strconv.Atoi(w.sh("awk '{print $1 + $5}' /sys/block/vda/stat"))
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// awaitRequests waits until the disk completed n more: it is alive, and under load.
func (w *world) awaitRequests(n int) {
	w.t.Helper()
	w.awaitMore(w.requests(), n)
}

func (w *world) awaitMore(from, n int) {
	w.t.Helper()
	deadline := time.Now().Add(daemon.Patience)
	for w.requests() < from+n {
		if time.Now().After(deadline) {
			w.t.Fatalf("the guest's disk completed fewer than %d requests in %v", n, daemon.Patience)
		}
		<-time.After(50 * time.Millisecond)
	}
}
