package colo

import (
	"strings"
	"testing"
)

// paired is a primary whose one ring runs, and whose peer has loaded epoch 0.
const paired = "start=1 up promised synced won:pair stop quiet=7 acked:0 STOP RESUME start=7 start-acked:0 " +
	"reported:0 "

// holding is the same one with a stop that waits for epoch 1 to be acknowledged.
const holding = paired + "stop quiet=9 "

var primaryScenes = []scene{
	{"alone", "", "start stop drained=3", "release drain answer"},
	{"a peer comes", "start", "up promised synced won:pair", "ask colo"},
	{"no ring runs: its seal goes first", "", "up promised synced won:pair quiet acked:0",
		"ask drain-all seal:0 colo"},
	{"a stop in between", "start up promised synced stop", "won:pair drained quiet=3 acked:0",
		"drain-all seal:0 colo answer"},
	{"somebody else has the volume", "start up promised synced", "beaten:pair", "halt end-qemu"},
	{"a peer goes while it is synchronised", "start up", "lost", "give-up"},

	{"a checkpoint", paired, "stop quiet=9 acked:1 STOP reported:1 RESUME start=9 start-acked:1",
		"drain-all seal:1 answer commit:1 announce:1 release"},
	{"no answer before everything is there", paired, "stop quiet=9", "drain-all seal:1"},
	{"nor for an older epoch", holding, "acked:0", ""},
	{"no ring runs before s knows", holding + "acked:1", "start=9 start:0.1=9", "announce:1"},
	{"a stop before s has heard of the start", holding + "acked:1 start=9",
		"stop start-acked:1 quiet=9 acked:2",
		"drain-all seal:2 answer"},
	{"device restart", paired, "stop quiet=9 acked:1 start=9 start-acked:1",
		"drain-all seal:1 answer announce:1 release"},

	{"the front end goes away", paired, "cut quiet acked:1 start=2 start-acked:1",
		"drain-all seal:1 announce:1 release"},
	{"two disks, one seal", paired + "start:1.0=4",
		"stop quiet=9 acked:1 stop:1.0 STOP RESUME start=9 start:1.0=4 start-acked:1",
		"drain-all seal:1 answer answer:1.0 announce:1 release release:1.0"},
	{"two disks, one driver taken off", paired + "start:1.0=4", "stop quiet=9 acked:1 linger start-acked:1",
		"drain-all seal:1 answer announce:1 release:1.0"},
	{"the other disk's start comes late", holding + "acked:1 start=9 start-acked:1", "start:1.0=4",
		"release:1.0"},

	{"giving up while holding", holding, "idle won:alone yanked", "give-up ask free yank answer beat"},
	{"the answer waits for the yank", holding, "idle won:alone", "give-up ask free yank"},
	{"the peer is lost while holding", holding, "lost won:alone yanked",
		"give-up ask free yank answer beat"},
	{"the peer's own word is enough", holding, "left yanked", "give-up ask free yank answer beat"},
	{"the witness does not answer", holding, "idle unreachable:alone yanked start",
		"give-up ask yank answer"},
	{"and then it does", holding + "idle unreachable:alone yanked start", "won:alone", "free beat release"},
	{"s was first", holding, "lost beaten:alone", "give-up ask halt end-qemu"},
	{"the monitor is lost, too", holding, "idle won:alone gap", "give-up ask free yank answer beat"},
	{"giving up in the middle of draining", paired + "stop", "lost won:alone yanked quiet=9",
		"give-up ask free yank answer beat"},
	{"a stop while giving up", paired + "lost", "stop drained=9 won:alone yanked",
		"drain free yank answer beat"},
	{"giving up while nothing is held", paired, "lost won:alone yanked stop drained=9 STOP RESUME start=9",
		"give-up ask free yank beat drain answer release"},
	{"giving up a start that s has not heard of", holding + "acked:1 start=9", "lost won:alone yanked",
		"give-up ask free yank beat release"},
	{"QEMU left COLO", paired, "EXIT", "give-up ask"},
	{"the promise ran out", paired, "deadline", "give-up ask"},
	{"the operator gives s up", paired, "failover", "give-up ask"},
	{"there is nobody to give up", "", "failover", "refuse"},
	{"progress keeps the hold", holding, "acked:1 idle", "answer"},

	{"a clean end", paired, "SHUTDOWN stop drained=9 gone end-acked yanked",
		"tell-end drain answer give-up ask free yank"},
	{"a clean end that cannot be told", paired, "SHUTDOWN lost won:alone",
		"tell-end give-up ask free yank"},
	{"a clean end while giving up", paired + "lost", "SHUTDOWN gone won:alone", "free yank"},
	{"QEMU died", paired, "gone", "halt hand-over"},
	{"QEMU died, and s is gone", paired + "lost", "gone won:alone", "halt"},
	{"the disk fails", paired, "broken-disk gone", "halt end-qemu hand-over"},
	{"the disk fails, alone", "start", "broken-disk", "pass-errors"},
	{"the disk fails while giving up", paired + "lost", "broken-disk won:alone yanked",
		"free yank pass-errors beat"},
	{"the disk fails before s could serve", "start up promised synced won:pair", "broken-disk",
		"pass-errors"},
	{"belay is told to end", paired, "quit gone", "halt end-qemu hand-over"},
	{"a new peer, counted from 0", paired + "lost won:alone yanked up promised synced won:pair",
		"stop quiet=9 acked:0",
		"drain-all seal:0 answer"},
}

func TestPrimary(t *testing.T) {
	for _, s := range primaryScenes {
		t.Run(strings.ReplaceAll(s.name, " ", "-"), func(t *testing.T) {
			var m Primary
			s.run(t, func(e Event) (out []Action) {
				m, out = m.Step(e)
				return out
			})
		})
	}
}
