package guest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestFollowReadsToTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "serial")
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	exited, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		follow(f, &got, exited)
	}()
	if err := os.WriteFile(path, []byte("all of it\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	close(exited)
	<-read
	if got.String() != "all of it\n" {
		t.Errorf("got %q", &got)
	}
}
