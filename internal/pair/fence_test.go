package pair

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belay-vm/belay/blk"
	"github.com/belay-vm/belay/colo"
)

// TestFence holds completions while the promise is over, and errors until they may pass.
func TestFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var told []colo.Event
		clock := func() time.Duration { return time.Since(begin) }
		f := newFence(clock, func(e colo.Event) { told = append(told, e) }, time.Second)
		one := f.of(1)
		f.serveUntil(time.Second)
		stays := func() bool { return false }
		if one.Pass(stays) != blk.Show {
			t.Fatal("it does not pass before the deadline")
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if len(told) != 1 || told[0] != (colo.DeadlinePassed{}) {
			t.Fatalf("told %v", told)
		}
		passed := make(chan blk.Verdict)
		go func() { passed <- one.Pass(stays) }()
		synctest.Wait()
		select {
		case <-passed:
			t.Fatal("it passes behind the deadline")
		default:
		}
		f.serveUntil(10 * time.Second)
		if <-passed != blk.Show {
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
		if one.Pass(stays) != blk.Never {
			t.Error("it passes after the end")
		}
	})
}

// TestFenceLetsGo : who stops a ring waits for the hold bound, and then gets it with what is held back. Who
// does not waits on, and nothing is shown to either.
func TestFenceLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		f := newFence(func() time.Duration { return time.Since(begin) }, func(colo.Event) {}, time.Second)
		f.serveUntil(0)
		ends := map[int]*atomic.Bool{0: {}, 1: {}}
		out := make(chan int)
		verdict := [2]blk.Verdict{}
		for i := range 2 {
			go func() { verdict[i] = f.of(i).Pass(ends[i].Load); out <- i }()
		}
		<-time.After(time.Minute)
		ends[0].Store(true)
		f.Look()
		stopped := time.Now()
		if i := <-out; i != 0 || verdict[0] != blk.Later {
			t.Fatalf("ring %d left with %v", i, verdict[i])
		}
		if waited := time.Since(stopped); waited != time.Second {
			t.Errorf("it waited for %v", waited)
		}
		ends[1].Store(true)
		f.Look() // another disk of the machine: the time is over for all
		if <-out; verdict[1] != blk.Later || time.Since(stopped) != time.Second {
			t.Errorf("the other left with %v after %v", verdict[1], time.Since(stopped))
		}
		f.serveUntil(colo.Forever)
		if f.of(0).Pass(ends[0].Load) != blk.Show {
			t.Error("it does not pass when it is open")
		}
	})
}
