package pair

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/belay-vm/belay/colo"
)

// TestFence holds completions while the promise is over, and errors until they may pass.
func TestFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var told []colo.Event
		clock := func() time.Duration { return time.Since(begin) }
		f := newFence(clock, func(e colo.Event) { told = append(told, e) })
		one := f.of(1)
		f.serveUntil(time.Second)
		if !one.Pass() {
			t.Fatal("it does not pass before the deadline")
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if len(told) != 1 || told[0] != (colo.DeadlinePassed{}) {
			t.Fatalf("told %v", told)
		}
		passed := make(chan bool)
		go func() { passed <- one.Pass() }()
		synctest.Wait()
		select {
		case <-passed:
			t.Fatal("it passes behind the deadline")
		default:
		}
		f.serveUntil(10 * time.Second)
		if !<-passed {
			t.Fatal("it does not pass after a renewal")
		}
		failed := make(chan bool)
		go func() { one.Failed(nil); failed <- true }()
		synctest.Wait()
		f.passErrors(0)
		synctest.Wait()
		select {
		case <-failed:
			t.Fatal("an error of another disk passes")
		default:
		}
		f.passErrors(1)
		<-failed
		f.stop()
		if one.Pass() {
			t.Error("it passes after the end")
		}
	})
}
