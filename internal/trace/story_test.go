package trace

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestStory(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 9, 100, 1000} {
		for _, most := range []int{2, 3, 8, 600} {
			var b bytes.Buffer
			r, err := NewRecorder(&b, header)
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				iv := &Interval{Time: noon.Add(time.Duration(i) * time.Second), Span: time.Second,
					Groups: map[Key]*Counts{reads: new(Counts).request(1, 512, 1, 2, 3, 4)}}
				if err := r.Add(iv); err != nil {
					t.Fatal(err)
				}
			}
			s, err := ReadStory(&b, most)
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Columns) > most || s.Total.Groups[reads].Requests != uint64(n) || len(s.Kinds) != 1 {
				t.Errorf("%d in at most %d: %d columns, total %v", n, most, len(s.Columns), s.Total.Groups[reads])
			}
			end, sum := noon, uint64(0)
			for i, column := range s.Columns {
				c := column.Only("read").Requests
				if !column.Time.Equal(end) || c != uint64(column.Span/time.Second) ||
					i < len(s.Columns)-1 && c != s.Columns[0].Only("").Requests {
					t.Errorf("%d in at most %d: column %d from %v for %v has %d", n, most, i, column.Time, column.Span, c)
				}
				end = column.End()
				sum += c
			}
			if sum != uint64(n) {
				t.Errorf("%d in at most %d: %d in all columns", n, most, sum)
			}
		}
	}
}

func TestStoryOfNothing(t *testing.T) {
	var b bytes.Buffer
	if _, err := NewRecorder(&b, header); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadStory(&b, 8); err == nil || !strings.Contains(err.Error(), "has no interval") {
		t.Error(err)
	}
}
