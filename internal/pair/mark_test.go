package pair

import (
	"testing"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/mirror"
)

func TestMarkNames(t *testing.T) {
	last := mirror.Mark{Generation: 1<<64 - 1, Epoch: 1<<63 - 1}
	for _, m := range []mirror.Mark{{Generation: 1, Epoch: mirror.Base}, last} {
		for again := range 2 {
			name := markName(m, again)
			if got, ok := parseMark(name); !ok || got != m {
				t.Errorf("%q: %v, %v, want %v", name, got, ok, m)
			}
		}
	}
	for _, name := range []string{
		"", "pair-", "pair-1", "pair-0-base", "pair--1", "pair-1-", "pair-1--1", "pair-x-3", "other-1-3", "1-3",
	} {
		if m, ok := parseMark(name); ok {
			t.Errorf("%q is a mark: %v", name, m)
		}
	}
}

func TestMarksOfTheCurrentLine(t *testing.T) {
	points := []checkpoint.Point{
		{ID: 1, Name: "pair-1-3", Line: 1}, {ID: 2, Name: "pair-1-4", Line: 2}, {ID: 3, Name: "daily", Line: 2},
		{ID: 4, Name: "pair-1-4.2", Line: 2}, {ID: 5, Name: "pair-1-5", Line: 2, Left: true},
	}
	got := marksOf(points, 2)
	if len(got) != 1 || got[0] != (markPoint{mirror.Mark{Generation: 1, Epoch: 4}, 4}) {
		t.Errorf("got %v", got)
	}
}
