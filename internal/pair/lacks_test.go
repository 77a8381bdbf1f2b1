package pair

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/internal/preflight"
)

// TestQEMULacks starts QEMUs that cannot be those of their sides: each side says so in its status, nothing is
// synchronised, and the primary's guest goes on.
func TestQEMULacks(t *testing.T) {
	for name, wrong := range map[string][2]bool{"primary": {true, false}, "secondary": {false, true}} {
		t.Run(name, func(t *testing.T) {
			dirs := [2]string{}
			for i := range dirs {
				dirs[i] = filepath.Join(t.TempDir(), "vol")
				must(t, checkpoint.Create(dirs[i], checkpoint.CreateOptions{Size: testSize}))
			}
			s := startSide(t, dirs[1], sideOptions{secondary: true, salt: 2, wrong: wrong[1]})
			p := startSide(t, dirs[0], sideOptions{peer: s, salt: 1, wrong: wrong[0]})
			p.machine.boot()
			p.machine.guest.write(5)
			until(t, "the primary says what is missing", func() bool {
				return strings.Contains(p.pair.Status().Problem, "-incoming")
			})
			p.check("not protected")
			if p.machine.migrates() {
				t.Error("the guest is sent")
			}
			bad := map[bool]*side{true: p, false: s}[wrong[0]]
			if lacks := preflight.Lacks(bad.pair.Status().Checks); len(lacks) == 0 {
				t.Errorf("its status has %+v", bad.pair.Status())
			}
			err := p.pair.Reprotect(context.Background(), s.net.Addr().String(), "tcp:127.0.0.1:1")
			if wrong[0] && !errors.Is(err, ErrLacks) {
				t.Errorf("to protect it: %v", err)
			}
		})
	}
}
