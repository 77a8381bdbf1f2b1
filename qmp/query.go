package qmp

import "context"

// This file has the questions that are asked before a pair starts, to say what is missing.

// QueryVersion asks QEMU for its version again. Client.Version has it from the greeting.
func (c *Client) QueryVersion(ctx context.Context) (v Version, err error) {
	return v, c.Execute(ctx, "query-version", nil, &v)
}

// QueryCommands lists the names of all commands that this QEMU has.
func (c *Client) QueryCommands(ctx context.Context) ([]string, error) {
	var list []struct {
		Name string `json:"name"`
	}
	err := c.Execute(ctx, "query-commands", nil, &list)
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	return names, err
}

// Machine is a type of machine that this QEMU can be.
type Machine struct {
	Name  string `json:"name"`
	Alias string `json:"alias"` // pc, q35
}

// QueryMachines lists them.
func (c *Client) QueryMachines(ctx context.Context) (list []Machine, err error) {
	return list, c.Execute(ctx, "query-machines", nil, &list)
}

// MachineType is the class of the machine that this QEMU is, for example
// pc-i440fx-7.2-machine.
func (c *Client) MachineType(ctx context.Context) (name string, err error) {
	return name, c.getProperty(ctx, "/machine", "type", &name)
}

// MachineMemory is how the machine's memory was asked for (-m), in bytes.
type MachineMemory struct {
	Size    uint64 `json:"size"`
	MaxSize uint64 `json:"max-size"`
	Slots   uint64 `json:"slots"` // for memory that is plugged in later; 0 if there are none
}

// QueryMachineMemory tells it. QEMU before 7.1 cannot: see Unknown and CommandError.
func (c *Client) QueryMachineMemory(ctx context.Context) (m MachineMemory, err error) {
	return m, c.getProperty(ctx, "/machine", "memory", &m)
}

// MachineBackend is the object that is the machine's memory (-M memory-backend=), as a path:
// /objects/ and its id. It is empty if there is none.
func (c *Client) MachineBackend(ctx context.Context) (path string, err error) {
	return path, c.getProperty(ctx, "/machine", "memory-backend", &path)
}

// Memdev is an object that is memory.
type Memdev struct {
	ID       string `json:"id"`
	Size     uint64 `json:"size"`  // bytes
	Share    bool   `json:"share"` // other processes can map it
	Prealloc bool   `json:"prealloc"`
}

// QueryMemdev lists the machine's memory backends.
func (c *Client) QueryMemdev(ctx context.Context) (list []Memdev, err error) {
	return list, c.Execute(ctx, "query-memdev", nil, &list)
}

// KVM tells whether the host's processor executes the guest.
type KVM struct {
	Enabled bool `json:"enabled"`
	Present bool `json:"present"`
}

// QueryKVM tells it.
func (c *Client) QueryKVM(ctx context.Context) (k KVM, err error) {
	return k, c.Execute(ctx, "query-kvm", nil, &k)
}

// Chardev is a byte stream of QEMU's, such as the one to a vhost-user device.
type Chardev struct {
	Label    string `json:"label"`
	Filename string `json:"filename"` // for example unix:/run/d.sock
	Open     bool   `json:"frontend-open"`
}

// QueryChardevs lists them.
func (c *Client) QueryChardevs(ctx context.Context) (list []Chardev, err error) {
	return list, c.Execute(ctx, "query-chardev", nil, &list)
}

func (c *Client) getProperty(ctx context.Context, path, property string, out any) error {
	args := struct {
		Path     string `json:"path"`
		Property string `json:"property"`
	}{path, property}
	return c.Execute(ctx, "qom-get", args, out)
}
