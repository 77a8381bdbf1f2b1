package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// A bar must go away whether its operation reached the total or not: one that waits for the
// rest would hang the program behind a finished export.
func TestBarEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		done int64
		err  error
	}{
		"complete":      {100, nil},
		"short of it":   {40, nil},
		"beyond it":     {140, nil},
		"failed midway": {40, errors.New("x")},
		"failed at end": {100, errors.New("x")},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			b := &bar{out: &out, name: "work", bytes: true}
			b.set(10, 100)
			b.set(tt.done, 100)
			b.end(tt.err)
			if !strings.Contains(out.String(), "work") {
				t.Errorf("showed %q", out.String())
			}
		})
	}
	quiet := &bar{}
	quiet.set(1, 2)
	quiet.end(nil)
}
