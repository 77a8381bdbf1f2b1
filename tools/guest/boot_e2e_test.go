//go:build e2e

package guest

import (
	"context"
	"os"
	"testing"
	"time"
)

func TestBootBare(t *testing.T) {
	t0 := time.Now()
	vm, err := Boot(context.Background(), Config{Console: os.Stdout})
	if err != nil {
		t.Fatal(err)
	}
	t.Log("boot", time.Since(t0), vm.Accel())
	out, err := vm.Run("uname -a; free; ls /dev; time fio --version; nproc; exit 3")
	t.Log(out, err, time.Since(t0))
	if err := vm.PowerOff(); err != nil {
		t.Fatal(err)
	}
	t.Log("off", time.Since(t0))
}
