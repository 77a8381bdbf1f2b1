//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/belay-vm/belay/tools/guest"
)

// TestStory is what the product is for: a state is kept, the guest goes on, and the state
// comes back as it was.
func TestStory(t *testing.T) {
	if !needs(t, checkpoints) {
		return
	}
	w := newWorld(t, "2G", guest.Disk{Queues: 2})
	w.boot()
	w.step("write and checkpoint", func(w *world) {
		w.format()
		w.fill("early")
		w.fio("--directory=/mnt --size=8M --bs=4k")
		w.sh("sync")
		cli(w.t, "checkpoint", w.volume, "--name", "first")
	})
	w.step("write more", func(w *world) {
		w.fill("late")
		w.sh("cd /mnt/early; for f in file*; do echo spoiled >$f; done; rm file7; sync")
		cli(w.t, "checkpoint", w.volume, "--name", "second")
		w.sh("echo after >/mnt/after; sync")
	})
	w.step("rollback under a guest is refused", func(w *world) {
		if out, err := tryCLI("rollback", w.volume, "--to", "first"); err == nil {
			w.t.Fatalf("a rollback under a running guest was done: %s", out)
		}
		w.sh("grep after /mnt/after; grep spoiled /mnt/early/file1")
	})
	w.step("roll back", func(w *world) {
		w.powerOff()
		cli(w.t, "rollback", w.volume, "--to", "first")
		w.boot()
		w.fsck()
		w.sh("mount /dev/vda /mnt; [ ! -e /mnt/late ]; [ ! -e /mnt/after ]")
		w.verify("early")
		w.noErrors()
	})
	w.step("undo", func(w *world) {
		w.sh("echo branch >/mnt/branch")
		w.powerOff()
		cli(w.t, "rollback", w.volume, "--undo")
		w.boot()
		w.fsck()
		w.sh("mount /dev/vda /mnt; grep after /mnt/after; grep spoiled /mnt/early/file1; [ ! -e /mnt/branch ]")
		w.verify("late")
	})
	w.step("offline", (*world).checkOffline)
}

// checkOffline rolls back with no server at all, and has the volume verified.
func (w *world) checkOffline() {
	w.powerOff()
	w.stop()
	cli(w.t, "rollback", w.volume, "--to", "first")
	cli(w.t, "check", w.volume)
	if list := cli(w.t, "checkpoints", w.volume); !strings.Contains(list, "first") {
		w.t.Errorf("the list of checkpoints has no first:\n%s", list)
	}
	var status map[string]any
	if err := json.Unmarshal([]byte(cli(w.t, "status", w.volume, "--json")), &status); err != nil {
		w.t.Errorf("status --json: %v", err)
	}
	w.serve()
	w.boot()
	w.fsck()
	w.sh("mount /dev/vda /mnt; [ ! -e /mnt/late ]")
	w.verify("early")
	w.powerOff()
	w.stop()
}
