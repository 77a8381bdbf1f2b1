package trace

import (
	"fmt"
	"io"
	"time"
)

// maxEvents is how many events a story remembers.
const maxEvents = 10_000

// Story is a recording, reduced to what a report needs.
type Story struct {
	Header  Header
	Columns []*Interval // of equal numbers of intervals each, the last one perhaps of fewer
	Total   Interval    // all keys; of its events the first ones
	Kinds   []string    // types of requests that there were

	most  int // columns
	each  int // intervals in a column
	count int // intervals in the last column
}

// ReadStory reads a whole recording into at most most columns, 2 or more.
func ReadStory(r io.Reader, most int) (*Story, error) {
	p, err := NewPlayer(r)
	if err != nil {
		return nil, err
	}
	s := &Story{Header: p.Header, most: most, each: 1}
	for {
		iv, err := p.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		s.add(iv)
	}
	if len(s.Columns) == 0 {
		return nil, fmt.Errorf("has no interval")
	}
	for _, kind := range Types {
		if s.Total.Only(kind).Requests > 0 {
			s.Kinds = append(s.Kinds, kind)
		}
	}
	return s, nil
}

func (s *Story) add(iv *Interval) {
	s.Total.Append(iv)
	s.Total.Events = s.Total.Events[:min(len(s.Total.Events), maxEvents)]
	if len(s.Columns) == s.most && s.count == s.each {
		s.halve()
	}
	if n := len(s.Columns); n > 0 && s.count < s.each {
		s.Columns[n-1].Append(iv.Fold())
		s.count++
		return
	}
	s.Columns, s.count = append(s.Columns, iv.Fold()), 1
}

// halve makes one column of each two.
func (s *Story) halve() {
	for i, column := range s.Columns {
		if i%2 == 0 {
			s.Columns[i/2] = column
		} else {
			s.Columns[i/2].Append(column)
		}
	}
	if len(s.Columns)%2 == 0 {
		s.count *= 2
	}
	s.Columns = s.Columns[:(len(s.Columns)+1)/2]
	s.each *= 2
}

// End is when the last interval ended.
func (s *Story) End() time.Time { return s.Columns[len(s.Columns)-1].End() }
