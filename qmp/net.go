package qmp

import (
	"context"
	"net"
	"strings"
)

// This file has the commands by which the packets of network cards are compared (QEMU's
// docs/COLO-FT.txt). What they add to a QEMU is not part of the guest.

// SocketChardev is a byte stream over a socket, as chardev-add takes it (qapi/char.json:
// ChardevSocket). A server does not wait for its client, and a TCP client connects by itself, again
// every second while it is not: so QEMU's main loop waits for nobody.
type SocketChardev struct {
	Address string // HOST:PORT, or the path of a Unix socket
	Server  bool
}

// AddSocket makes a byte stream over a socket.
func (c *Client) AddSocket(ctx context.Context, id string, s SocketChardev) error {
	addr := map[string]any{"type": "unix", "data": map[string]any{"path": s.Address}}
	data := map[string]any{"addr": addr, "server": s.Server}
	if s.Server {
		data["wait"] = false
	}
	if !strings.Contains(s.Address, "/") {
		host, port, err := net.SplitHostPort(s.Address)
		if err != nil {
			return err
		}
		addr["type"], addr["data"] = "inet", map[string]any{"host": host, "port": port}
		data["nodelay"] = true
		if !s.Server {
			data["reconnect"] = 1
		}
	}
	return c.addChardev(ctx, id, "socket", data)
}

// AddSink makes a byte stream that loses what is written to it.
func (c *Client) AddSink(ctx context.Context, id string) error {
	return c.addChardev(ctx, id, "file", map[string]any{"out": "/dev/null"})
}

func (c *Client) addChardev(ctx context.Context, id, kind string, data map[string]any) error {
	args := map[string]any{"id": id, "backend": map[string]any{"type": kind, "data": data}}
	return c.Execute(ctx, "chardev-add", args, nil)
}

// RemoveChardev ends a byte stream that nobody uses any more.
func (c *Client) RemoveChardev(ctx context.Context, id string) error {
	return c.Execute(ctx, "chardev-remove", map[string]string{"id": id}, nil)
}

// Connected tells of a Chardev over a socket whether it has a connection.
func (d Chardev) Connected() bool { return !strings.HasPrefix(d.Filename, "disconnected:") }

// AddObject makes an object (object-add). Its type's properties are props.
func (c *Client) AddObject(ctx context.Context, kind, id string, props map[string]any) error {
	args := map[string]any{"qom-type": kind, "id": id}
	for name, value := range props {
		args[name] = value
	}
	return c.Execute(ctx, "object-add", args, nil)
}

// RemoveObject removes one (object-del).
func (c *Client) RemoveObject(ctx context.Context, id string) error {
	return c.Execute(ctx, "object-del", map[string]string{"id": id}, nil)
}

// QueryObjects lists the ids of the objects that were made by hand or by the command line.
func (c *Client) QueryObjects(ctx context.Context) ([]string, error) {
	var list []struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	err := c.Execute(ctx, "qom-list", map[string]string{"path": "/objects"}, &list)
	var ids []string
	for _, o := range list {
		if strings.HasPrefix(o.Type, "child<") {
			ids = append(ids, o.Name)
		}
	}
	return ids, err
}

// YankChardev cuts the connection of a byte stream over a socket, out of band. What waits in QEMU for
// such a stream goes on.
func (c *Client) YankChardev(ctx context.Context, id string) error {
	instance := YankInstance{Type: "chardev", ID: id}
	return c.ExecuteOOB(ctx, "yank", yankArgs{[]YankInstance{instance}}, nil)
}

// AnnounceSelf has QEMU, and the guest if its cards can, tell the network where the cards are now.
func (c *Client) AnnounceSelf(ctx context.Context) error {
	args := map[string]int{"initial": 50, "max": 550, "rounds": 5, "step": 100} // milliseconds
	return c.Execute(ctx, "announce-self", args, nil)
}
