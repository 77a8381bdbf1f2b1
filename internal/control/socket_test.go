package control

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// stale leaves the file of a dead socket at path.
func stale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestListenReplacesTheDead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale(t, path)
	l, err := Listen(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket file: %v, %v", st.Mode(), err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("after close: %v", err)
	}
}

func TestListenSparesTheLiving(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := Listen(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		if conn, err := first.Accept(); err == nil {
			t.Error("asking whether a socket is alive connected to it")
			_ = conn.Close()
		}
	}()
	if _, err := Listen(path, 0o600); CodeOf(err) != CodeInUse {
		t.Errorf("a living socket was taken: %v", err)
	}
	if alive, err := Alive(path); !alive || err != nil {
		t.Errorf("alive: %v, %v", alive, err)
	}
	_ = first.Close()
	<-accepted
}

func TestListenSparesOtherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, 0o600); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a plain file: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "x" {
		t.Errorf("the file is %q, %v", b, err)
	}
}

// Close must not remove a socket that another process has made at the same path meanwhile.
func TestCloseSparesTheSuccessor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	next, err := Listen(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if alive, err := Alive(path); !alive || err != nil {
		t.Errorf("the successor: %v, %v", alive, err)
	}
	_ = next.Close()
}

func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, SocketName)
	l, err := Listen(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if alive, err := Alive(path); !alive || err != nil {
		t.Errorf("alive: %v, %v", alive, err)
	}
	if _, err := Listen(path, 0o600); CodeOf(err) != CodeInUse {
		t.Errorf("second: %v", err)
	}
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("after close: %v", err)
	}
}

// Many who find the same dead socket: one gets the place, the others see it alive.
func TestListenRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale(t, path)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var got []*Listener
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			l, err := Listen(path, 0o600)
			if err != nil {
				return
			}
			mu.Lock()
			got = append(got, l)
			mu.Unlock()
		}()
	}
	wg.Wait()
	if len(got) != 1 {
		t.Fatalf("%d got the place", len(got))
	}
	if alive, err := Alive(path); !alive || err != nil {
		t.Errorf("alive: %v, %v", alive, err)
	}
	_ = got[0].Close()
}
