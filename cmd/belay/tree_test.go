package main

import (
	"strconv"
	"strings"
	"testing"

	"github.com/belay-vm/belay/internal/control"
)

// history builds one from "ID:LINE" words and the parents of lines 1, 2, ...; the last line is
// the current one.
func history(points string, parents ...uint32) control.History {
	var h control.History
	for _, word := range strings.Fields(points) {
		id, line, _ := strings.Cut(word, ":")
		i, _ := strconv.Atoi(id)
		l, _ := strconv.Atoi(line)
		h.Points = append(h.Points, control.Point{ID: uint32(i), Line: uint32(l)})
	}
	for i, p := range parents {
		h.Lines = append(h.Lines, control.Line{ID: uint32(i + 1), Parent: p, Current: i == len(parents)-1})
	}
	return h
}

func TestTree(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    control.History
		want string
	}{
		{"empty", history("", 0), `
* now`},
		{"straight", history("1:1 2:1", 0), `
1
2
* now`},
		{"one rollback", history("1:1 2:1 3:1 4:2", 0, 1), `
1
├─ 2
│  3
4
* now`},
		{"rollback just done", history("1:1 2:1 3:1", 0, 1), `
1
├─ 2
│  3
* now`},
		{"rolled back twice to one", history("1:1 2:1 3:2 4:3", 0, 1, 1), `
1
├─ 2
├─ 3
4
* now`},
		{"undone", history("1:1 2:1 3:2 4:3", 0, 1, 2), `
1
├─ 3
2
4
* now`},
		{"branch of a branch", history("1:1 2:1 3:1 4:2 5:3 6:4", 0, 2, 1, 5), `
1
├─ 2
│  ├─ 4
│  3
5
6
* now`},
		{"parent deleted", history("1:1 3:1 4:2", 0, 2), `
1
├─ 3
4
* now`},
		{"all before deleted", history("3:1 4:2", 0, 2), `
├─ 3
4
* now`},
	} {
		var out strings.Builder
		for _, row := range tree(tt.h) {
			out.WriteString("\n" + row.art)
			if row.now {
				out.WriteString("now")
			} else {
				out.WriteString(strconv.Itoa(int(row.point.ID)))
			}
		}
		if out.String() != tt.want {
			t.Errorf("%s:%s\nwant:%s", tt.name, out.String(), tt.want)
		}
	}
}
