package pair

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/mirror"
)

// A mark's point is called pair-GENERATION-EPOCH, or pair-GENERATION-base; an epoch that was loaded again
// has .2 and so on behind it.

const (
	markPrefix = "pair-"
	markBase   = "base"
)

// markName is the name of a mark's point; again counts from 0.
func markName(m mirror.Mark, again int) string {
	epoch := markBase
	if m.Epoch != mirror.Base {
		epoch = strconv.FormatInt(m.Epoch, 10)
	}
	name := fmt.Sprintf("%s%d-%s", markPrefix, m.Generation, epoch)
	if again > 0 {
		name += fmt.Sprintf(".%d", again+1)
	}
	return name
}

// parseMark is its inverse; false for points that are no marks.
func parseMark(name string) (m mirror.Mark, ok bool) {
	rest, ok := strings.CutPrefix(name, markPrefix)
	generation, epoch, two := strings.Cut(rest, "-")
	if !ok || !two {
		return m, false
	}
	var err error
	if m.Generation, err = strconv.ParseUint(generation, 10, 64); err != nil || m.Generation == 0 {
		return m, false
	}
	epoch, _, _ = strings.Cut(epoch, ".")
	if epoch == markBase {
		m.Epoch = mirror.Base
		return m, true
	}
	n, err := strconv.ParseUint(epoch, 10, 63)
	m.Epoch = int64(n)
	return m, err == nil
}

// markPoint is a mark and the point that has it.
type markPoint struct {
	mark  mirror.Mark
	point uint32
}

// marksOf lists the marks of a volume's current line, newest first. An epoch that was loaded twice is
// the same state each time; its newest point counts.
func marksOf(points []checkpoint.Point, line uint32) []markPoint {
	var list []markPoint
	seen := map[mirror.Mark]bool{}
	for i := len(points) - 1; i >= 0; i-- {
		p := points[i]
		m, ok := parseMark(p.Name)
		if ok && !p.Left && p.Line == line && !seen[m] {
			seen[m] = true
			list = append(list, markPoint{m, p.ID})
		}
	}
	return list
}

// commonMarks are those that all disks have, in the order of the first one's.
func commonMarks(disks []*volume) []mirror.Mark {
	var list []mirror.Mark
	for _, m := range disks[0].marks() {
		everywhere := true
		for _, d := range disks[1:] {
			if _, ok := d.find(m.mark); !ok {
				everywhere = false
			}
		}
		if everywhere && len(list) < maxMarks {
			list = append(list, m.mark)
		}
	}
	return list
}

// marked says whether there is a mark of the generation, or of a later one: a pair was made in it.
func marked(disks []*volume, generation uint64) bool {
	for _, d := range disks {
		for _, m := range d.marks() {
			if m.mark.Generation >= generation {
				return true
			}
		}
	}
	return false
}

// maxMarks is how many a hello takes.
const maxMarks = 64
