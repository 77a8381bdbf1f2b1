package colo

import (
	"strings"
	"testing"
)

// following is a secondary that has loaded epoch 0, whose one ring runs, and whose primary runs.
const following = "up free seal:0=7 complete:0 RESUME loaded:0 start=7 passed starting:0 passed "

// stopped is the same one in a checkpoint: S stands, its own ring is at 5; P has sealed epoch 1 at 9.
const stopped = following + "stop drained=5 STOP seal:1=9 complete:1 "

const poisoned = "halt poison end-qemu leave"

var secondaryScenes = []scene{
	{"the first RESUME loads epoch 0", "up seal:0=7 complete:0", "RESUME loaded:0 start=7 passed",
		"load:0 report:0 release"},
	{"the ring start is seen first", "up seal:0=7 complete:0", "start=7 RESUME loaded:0 passed",
		"load:0 report:0 release"},
	{"the barrier is through before the load", "up seal:0=7 complete:0", "start=7 RESUME passed loaded:0",
		"load:0 report:0 release"},
	{"a guest that boots on S", "up", "RESUME", poisoned},
	{"STOP before anything ran", "up", "STOP", poisoned},

	{"a stop is answered when drained, not when STOP comes", following, "stop drained=5", "drain answer"},
	{"a checkpoint", stopped, "RESUME loaded:1 start=9 passed", "load:1 report:1 release"},
	{"its seal is acknowledged", following + "stop drained=5 STOP", "seal:1=9 complete:1", "ack:1"},
	{"not before it is complete", following, "seal:1=9", ""},
	{"nor while another load is under way", stopped + "RESUME starting:1 passed",
		"seal:2 complete:2 loaded:1", "report:1 ack:2"},
	{"a stop while the start is held", stopped + "RESUME start=9", "stop drained=9", "drain answer"},

	{"an announcement waits for the events before it", stopped, "starting:1 RESUME passed",
		"load:1 ack-start:1"},
	{"and what follows waits behind it", stopped, "starting:1 seal:2 RESUME passed complete:2 loaded:1",
		"load:1 ack-start:1 report:1 ack:2"},

	{"device not started: the same seal again",
		following + "stop drained=5 STOP seal:1 complete:1 RESUME loaded:1",
		"STOP RESUME loaded:1 STOP RESUME loaded:1", "load:1 report:1 load:1 report:1"},
	{"a driver that comes later sets its rings up anew", stopped + "RESUME loaded:1", "fresh=3 passed",
		"release"},
	{"but not as S's own was", stopped + "RESUME loaded:1", "fresh=5 passed", poisoned},
	{"cont when P's device is not started", following + "stop drained=5 STOP seal:1 complete:1",
		"RESUME loaded:1 start=5 passed", "load:1 report:1 " + poisoned},
	{"a device restart", following, "stop drained=5 fresh=3 passed", "drain answer release"},

	{"cont before P has sealed", following + "stop drained=5 STOP", "RESUME", poisoned},
	{"cont when P has sealed", stopped, "RESUME loaded:1 start=5 passed", "load:1 report:1 " + poisoned},
	{"cont without a stop", following, "RESUME", poisoned},
	{"a load before the seal is whole", following + "stop drained=5 STOP seal:1=9", "RESUME", poisoned},
	{"the link is lost before it is whole", following + "stop drained=5 STOP seal:1=9 lost", "RESUME",
		"halt poison end-qemu"},
	{"the link is lost after it is whole", stopped + "lost", "RESUME loaded:1 start=9 passed",
		"load:1 release"},
	{"a gap in the events", following, "gap", poisoned},
	{"somebody resets S", following, "RESET:foreign", poisoned},
	{"the guest resets itself", following, "RESET", ""},
	{"somebody takes a device away", following, "meddled", poisoned},
	{"its disk fails", following, "broken-disk", poisoned},
	{"its disk fails when it serves", following + "lost EXIT won promoted", "broken-disk", "pass-errors"},
	{"a start that was not sealed", following, "starting:0 passed", poisoned},
	{"an older seal", following, "seal:0", poisoned},
	{"two seals without a start", stopped, "seal:2", poisoned},
	{"a poisoned one answers stops and starts nothing", stopped + "gap",
		"start=9 passed RESUME stop won loaded:1", "answer"},

	{"takeover: the primary was killed", following + "ask-promise lost",
		"EXIT free won promoted stop drained=6 STOP RESUME start=6 passed",
		"ask promote beat drain answer keep release"},
	{"takeover: before the promise is over", following + "ask-promise", "lost EXIT", "yank"},
	{"takeover: before COLO has ended", following, "lost won", "yank"},
	{"takeover: load of RAM failed", stopped, "EXIT lost won promoted RESUME start=5 passed",
		"ask promote beat keep release"},
	{"takeover: failed after the memory was overwritten", stopped,
		"EXIT lost won promoted RESUME start=9 passed",
		"ask promote beat keep halt end-qemu"},
	{"takeover: the same, and the device is stopped before it is judged", stopped + "EXIT lost won promoted",
		"start=9 stop drained=9 RESUME passed", "drain answer keep halt end-qemu"},
	{"takeover: asked for in the load, STOP first", stopped + "lost",
		"RESUME loaded:1 start=9 passed stop drained=9 STOP EXIT won promoted RESUME start=9 passed",
		"load:1 release drain answer ask promote beat keep release"},
	{"takeover: asked for in the load, COLO_EXIT first", stopped + "lost",
		"RESUME loaded:1 start=9 passed EXIT won promoted stop drained=9 STOP RESUME start=9 passed",
		"load:1 release ask promote beat drain answer keep release"},
	{"takeover: between received and the load", stopped + "lost",
		"RESUME EXIT loaded:1 won promoted start=9 passed",
		"load:1 ask promote beat release"},
	{"takeover: P hands over, no promise binds", following + "ask-promise", "handed lost EXIT won promoted",
		"yank ask promote beat"},
	{"takeover: the other side was first", following + "lost EXIT", "beaten", "halt poison end-qemu"},
	{"takeover: nobody knows", following + "lost EXIT", "unreachable unreachable won", "promote"},
	{"takeover: not before epoch 0", "up seal:0=7", "lost", "halt poison end-qemu"},
	{"takeover: not while epoch 0 loads", "up free seal:0=7 complete:0 RESUME", "lost EXIT won loaded:0 won",
		"yank ask promote"},
	{"takeover: not before a promise of the synchronisation is over",
		strings.Replace(following, "free ", "", 1) + "lost EXIT", "free won", "ask promote"},
	{"a gap when nothing can load any more", following + "lost EXIT", "gap won promoted start=6",
		"promote beat release"},

	{"COLO ended, the primary is there", following, "EXIT", ""},
	{"the primary gives up", following, "gave-up", poisoned},
	{"too late", following + "lost EXIT", "gave-up won", "promote"},
	{"promises", following, "ask-promise ask-promise", "promise promise"},
	{"none when it has lost P", following + "lost", "ask-promise", ""},
	{"a clean end", following, "ended EXIT lost free won", "halt poison end-qemu ack-end"},
	{"its own QEMU ends", following, "SHUTDOWN", poisoned},
	{"its own QEMU dies", following, "gone", poisoned},
	{"failover while the primary is there", following, "failover", "refuse"},
	{"belay is told to end", following, "quit", poisoned},
}

func TestSecondary(t *testing.T) {
	for _, s := range secondaryScenes {
		t.Run(strings.ReplaceAll(s.name, " ", "-"), func(t *testing.T) {
			var m Secondary
			s.run(t, func(e Event) (out []Action) {
				m, out = m.Step(e)
				return out
			})
		})
	}
}
