package pair

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestTraffic sends a known number of bytes over the link.
func TestTraffic(t *testing.T) {
	n := newNet(t)
	count, err := n.Count()
	if errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer count.Close()
	const port, sent = 7000, 1 << 20
	var l net.Listener
	err = within(n.namespace(B.String()), func() (err error) {
		l, err = net.Listen("tcp", n.Side(B).Addr+":7000")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	received := make(chan int64, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			received <- -1
			return
		}
		defer c.Close()
		got, _ := io.Copy(io.Discard, c) // how much it was is what counts
		received <- got
	}()
	words := n.Side(A).Inside("busybox", "nc", "-w", "5", n.Side(B).Addr, "7000")
	send := exec.Command(words[0], words[1:]...)
	send.Stdin = strings.NewReader(strings.Repeat("x", sent))
	if err := send.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-received:
		if got != sent {
			t.Fatalf("%d bytes arrived", got)
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing arrived")
	}
	if err := send.Wait(); err != nil {
		t.Fatal(err)
	}
	got, err := count.Bytes(port)
	if err != nil {
		t.Fatal(err)
	}
	if got < sent || got > sent+sent/10 {
		t.Errorf("%d bytes were counted, %d were sent", got, sent)
	}
	if other, err := count.Bytes(port + 1); other != 0 || err != nil {
		t.Errorf("another port has %d bytes, %v", other, err)
	}
}
