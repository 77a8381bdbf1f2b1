package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestAnswers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	r, err := openRecords(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		say, want string
		more      bool
	}{
		{"get 0", "none", true},
		{"put first", "ok 0", true},
		{"put two words", "ok 1", true},
		{"get 1", "is two words", true},
		{"get 0", "is first", true},
		{"get 2", "none", true},
		{"get -1", "bye", false},
		{"get x", "bye", false},
		{"put ", "bye", false},
		{"put " + strings.Repeat("x", recordSize), "bye", false},
		{"", "bye", false},
	} {
		if got, more := r.answer(c.say); got != c.want || more != c.more {
			t.Errorf("%q: got %q %v, want %q %v", c.say, got, more, c.want, c.more)
		}
	}
	r.file.Close()
	if r, err = openRecords(path); err != nil {
		t.Fatal(err)
	}
	defer r.file.Close()
	if got, _ := r.answer("put third"); got != "ok 2" {
		t.Errorf("after a restart: got %q, want ok 2", got)
	}
	if got, _ := r.answer("get 1"); got != "is two words" {
		t.Errorf("after a restart: got %q", got)
	}
}
