package qmp

import (
	"encoding/json"
	"net"
	"os"
	"time"

	goqemu "github.com/digitalocean/go-qemu/qmp"
)

// maxReply is the longest line, in bytes, that go-qemu gets to see. It reads with a
// bufio.Scanner whose limit is 64 KiB.
const maxReply = 60 << 10

// pair is a go-qemu monitor and the other end of its connection, in this process. It lives for
// one command. go-qemu opens its own connections, so it is given the address of a socket of ours.
type pair struct {
	socket *goqemu.SocketMonitor
	local  net.Conn
}

// newPair connects a go-qemu monitor to this process.
func newPair() (*pair, error) {
	// Without a name the kernel chooses an abstract one that is free.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	socket, err := goqemu.NewSocketMonitor("unix", l.Addr().String(), DefaultTimeout)
	if err != nil {
		return nil, err
	}
	_ = l.SetDeadline(time.Now().Add(DefaultTimeout)) // it is in the queue already
	for {
		local, err := l.Accept()
		if err != nil {
			_ = socket.Disconnect()
			return nil, err
		}
		if peerPID(local) == os.Getpid() { // abstract names are everybody's
			return &pair{socket, local}, nil
		}
		_ = local.Close()
	}
}

// run is go-qemu's side: a whole session with one command in it.
func (p *pair) run(command []byte) ([]byte, error) {
	if err := p.socket.Connect(); err != nil {
		return nil, err
	}
	return p.socket.Run(command)
}

// serve is QEMU's side of that session. The command goes to ask, its answer to go-qemu,
// and nothing else ever does.
func (p *pair) serve(hello []byte, ask func(command []byte) (answer []byte, err error)) error {
	if err := p.send(hello); err != nil {
		return err
	}
	in := json.NewDecoder(p.local) // go-qemu does not end all its lines
	var command json.RawMessage
	if err := in.Decode(&command); err != nil { // qmp_capabilities, which QEMU had long ago
		return err
	}
	if err := p.send([]byte(`{"return": {}}`)); err != nil {
		return err
	}
	if err := in.Decode(&command); err != nil {
		return err
	}
	answer, err := ask(command)
	if err != nil {
		return err
	}
	return p.send(answer)
}

func (p *pair) send(line []byte) error {
	_, err := p.local.Write(append(line[:len(line):len(line)], '\n'))
	return err
}

// close frees whoever waits in go-qemu, and waits for go-qemu's reader.
func (p *pair) close() {
	_ = p.local.Close()
	_ = p.socket.Disconnect()
}
