package guest

import (
	"fmt"

	"github.com/digitalocean/go-qemu/qmp"
)

// Unplug takes a disk out of the running guest and waits until the guest let go of it. The
// connection to its backend stays open: it belongs to the socket, not to the device.
func (vm *VM) Unplug(id string) error {
	ctx, cancel := vm.timeout()
	defer cancel()
	mark := vm.monitor.mark()
	err := vm.monitor.run(ctx, "device_del", map[string]any{"id": id}, nil)
	if err != nil {
		return vm.explain(err)
	}
	err = vm.monitor.waitEvent(ctx, mark, func(e qmp.Event) bool {
		return e.Event == "DEVICE_DELETED" && e.Data["device"] == id
	})
	if err != nil {
		return vm.explain(fmt.Errorf("unplugging %s: %w", id, err))
	}
	return nil
}

// Plug puts a disk of the Config, unplugged before, back into the running guest.
func (vm *VM) Plug(id string) error {
	for _, d := range vm.conf.Disks {
		if d.ID == id {
			return vm.QMP("device_add", d.properties(), nil)
		}
	}
	return fmt.Errorf("plugging %s: the guest's configuration has no such disk", id)
}
