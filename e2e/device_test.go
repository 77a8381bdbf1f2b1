//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/daemon"
	"github.com/belay-vm/belay/tools/guest"
)

func TestDeviceSplit(t *testing.T) {
	testDevice(t, guest.Disk{Queues: 2})
}

func TestDevicePacked(t *testing.T) {
	if needs(t, packedRings) {
		testDevice(t, guest.Disk{Queues: 2, Packed: true})
	}
}

// testDevice takes one guest through all that a device goes through in its life.
func testDevice(t *testing.T, disk guest.Disk) {
	w := newWorld(t, "2G", disk)
	w.boot()
	w.step("rings", (*world).checkRings)
	w.step("raw", (*world).checkRaw)
	w.step("files", func(w *world) {
		w.format()
		w.fill("files")
		w.fio("--directory=/mnt --size=12M --bs=4k")
		w.verify("files")
	})
	w.step("reboot", func(w *world) {
		if err := w.vm.Reboot(); err != nil {
			w.t.Fatal(err)
		}
		w.fsck()
		w.sh("mount /dev/vda /mnt")
		w.verify("files")
	})
	w.step("reset", func(w *world) {
		w.sh("cd /mnt; echo survives >kept; sync")
		if err := w.vm.Reset(); err != nil {
			w.t.Fatal(err)
		}
		w.sh("mount /dev/vda /mnt; grep survives /mnt/kept")
		w.verify("files")
	})
	w.step("pause", (*world).checkPause)
	w.step("plug", (*world).checkPlug)
	w.step("resize", (*world).checkResize)
	w.step("discard", (*world).checkDiscard)
	w.step("kill", (*world).checkKill)
	w.step("end", func(w *world) {
		w.sh("umount /mnt")
		w.fsck()
		w.noErrors()
		w.powerOff()
		w.stop()
	})
}

// VIRTIO_F_RING_PACKED (virtio 1.2, section 6) as a place in sysfs' string of feature bits.
const packedBit = 34

func (w *world) checkRings() {
	if queues := w.sh("ls /sys/block/vda/mq | wc -l"); queues != fmt.Sprint(w.disk.Queues) {
		w.t.Errorf("the guest uses %s queues, want %d", queues, w.disk.Queues)
	}
	features := w.sh("cat /sys/block/vda/device/features")
	if packed := features[packedBit] == '1'; packed != w.disk.Packed {
		w.t.Errorf("packed ring negotiated: %v, want %v", packed, w.disk.Packed)
	}
	if size := w.sh("cat /sys/block/vda/queue/logical_block_size"); size != "512" {
		w.t.Errorf("logical block size %s, want 512", size)
	}
}

// checkRaw writes pieces down to a sector to the bare disk, on both queues at once: each
// process has its own half, as they would otherwise overwrite each other's checksums.
func (w *world) checkRaw() {
	w.fio("--filename=/dev/vda --bsrange=512-96k --blockalign=512 --size=16M " +
		"--offset=0 --offset_increment=1G")
}

// checkPause stops the machine under load: the rings stop and start again where they were.
func (w *world) checkPause() {
	done := w.inBackground("--directory=/mnt --size=12M --bs=4k")
	for range 5 {
		if err := w.vm.Pause(); err != nil {
			w.t.Fatal(err)
		}
		if err := w.vm.Resume(); err != nil {
			w.t.Fatal(err)
		}
	}
	w.wait(done)
	w.verify("files")
}

func (w *world) checkPlug() {
	for range 2 {
		w.sh("umount /mnt")
		if err := w.vm.Unplug("disk0"); err != nil {
			w.t.Fatal(err)
		}
		w.sh("[ ! -e /dev/vda ]")
		if err := w.vm.Plug("disk0"); err != nil {
			w.t.Fatal(err)
		}
		w.sh("%s; mount /dev/vda /mnt", awaitInGuest("[ -b /dev/vda ]"))
		w.verify("files")
	}
}

func (w *world) checkResize() {
	if !needs(w.t, resizing) {
		return
	}
	w.b.resize(w.t, w.volume, "3G")
	w.sh("%s", awaitInGuest("[ $(cat /sys/block/vda/size) = $((3 << 21)) ]"))
	w.sh("resize2fs /dev/vda 2>&1; [ $(df -m /mnt | awk 'END {print $2}') -gt 2200 ]")
	w.verify("files")
	w.noErrors()
}

// awaitInGuest is a script that waits, not too long, for a condition.
func awaitInGuest(condition string) string {
	return fmt.Sprintf("n=0; until %s; do n=$((n + 1)); [ $n -lt 300 ]; sleep 0.1; done", condition)
}

// checkDiscard wants the host's space back for what the guest trims.
func (w *world) checkDiscard() {
	const bytes = 96 << 20
	w.sh("head -c %d /dev/zero | tr '\\0' x >/mnt/big; sync", bytes)
	full := allocated(w.t, w.volume)
	w.sh("rm /mnt/big; sync; fstrim -v /mnt; sync")
	// Space may come back in the background; half of it is no accident.
	want := full - bytes/2
	deadline := time.Now().Add(daemon.Patience)
	for now := full; now > want; now = allocated(w.t, w.volume) {
		if time.Now().After(deadline) {
			w.t.Fatalf("after fstrim of %d bytes the volume takes %d bytes, %d before", bytes, now, full)
		}
		<-time.After(100 * time.Millisecond)
	}
	w.verify("files")
}
