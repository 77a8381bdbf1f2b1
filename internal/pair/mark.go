package pair

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/mirror"
)

// A mark's point is called pair-RUN-EPOCH, or pair-RUN-base; an epoch that was loaded again has .2 and
// so on behind it.

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
	name := markPrefix + hex.EncodeToString(m.Run[:]) + "-" + epoch
	if again > 0 {
		name += fmt.Sprintf(".%d", again+1)
	}
	return name
}

// parseMark is its inverse; false for points that are no marks.
func parseMark(name string) (m mirror.Mark, ok bool) {
	run, epoch, ok := strings.Cut(strings.TrimPrefix(name, markPrefix), "-")
	id, err := hex.DecodeString(run)
	if !ok || err != nil || len(id) != len(m.Run) || !strings.HasPrefix(name, markPrefix) {
		return m, false
	}
	copy(m.Run[:], id)
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

// maxMarks is how many a hello takes.
const maxMarks = 64
