package guard

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// keeperVerb makes the test's program a belay: it guards the process whose number it is given, tells the
// guard's number, and waits to be killed.
const keeperVerb = "keeper"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case Verb:
			if err := Run("of a test", os.Stdout, os.Stderr); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		case keeperVerb:
			keep(os.Args[2], os.Args[3] == "bound")
		}
	}
	goleak.VerifyTestMain(m)
}

func keep(number string, bound bool) {
	pid, err := strconv.Atoi(number)
	if err != nil {
		panic(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		panic(err)
	}
	k := New(hclog.Default())
	k.Watch(pid, os.NewFile(uintptr(fd), "pidfd"))
	k.Bind(!bound)
	k.Bind(bound)
	fmt.Println(k.guardPID())
	select {}
}

// guardPID is the guard's process, 0 if there is none.
func (k *Keeper) guardPID() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now == nil {
		return 0
	}
	return k.now.cmd.Process.Pid
}
