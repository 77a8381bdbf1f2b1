package main

import (
	"net"
	"path/filepath"
	"testing"
)

func TestGate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{Listener: l}
	inside, next, done := make(chan net.Conn), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := g.Accept()
			if err != nil {
				return
			}
			inside <- c
			<-next
		}
	}()
	if !g.alone(func() {
		// A front end that comes now waits outside.
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		select {
		case <-inside:
			t.Error("a front end came in during a rollback")
		default:
		}
	}) {
		t.Fatal("nobody was there, but the gate says so")
	}
	(<-inside).Close()
	if !g.connected() || g.alone(func() { t.Error("worked beside a front end") }) {
		t.Error("a front end is there, but the gate does not say so")
	}
	_ = l.Close()
	next <- struct{}{}
	<-done
	if g.connected() {
		t.Error("the front end is gone, but the gate says it is there")
	}
}
