package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// newLedger has 2 files of 4 blocks on a real disk: O_DIRECT does not work everywhere.
func newLedger(t *testing.T) (*ledger, *bytes.Buffer) {
	t.Helper()
	dir, err := os.MkdirTemp(".", "ledger-*.tmp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var out bytes.Buffer
	l, err := open(dir, &out, 2, 4)
	if err != nil {
		t.Fatal(err)
	}
	return l, &out
}

func TestRoundsAgree(t *testing.T) {
	l, out := newLedger(t)
	for range 2 * everythingEach {
		if err := l.round(); err != nil {
			t.Fatal(err)
		}
	}
	if l.fails > 0 || strings.Count(out.String(), " ok, ") != 2*everythingEach {
		t.Errorf("%d failures:\n%s", l.fails, out)
	}
}

func TestDisagreementsAreTold(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, l *ledger)
		want  string
	}{
		{"an older moment's block", func(t *testing.T, l *ledger) { l.files[1].want[2].Generation++ },
			"file 1 block 2: generation 7, want 8"},
		{"another place's block", func(t *testing.T, l *ledger) {
			place{0, 3, 4}.fill(l.block)
			overwrite(t, l, l.block)
		}, "file 1 block 0: it is file 0 block 3 generation 4"},
		{"a torn block", func(t *testing.T, l *ledger) {
			l.files[1].want[0].fill(l.block)
			clear(l.block[512:])
			overwrite(t, l, l.block)
		}, "file 1 block 0: generation 5, torn, want 5"},
		{"no block", func(t *testing.T, l *ledger) { overwrite(t, l, make([]byte, blockSize)) },
			"file 1 block 0: empty, want generation 5"},
		{"a file that should be gone", func(t *testing.T, l *ledger) {
			if err := os.WriteFile(l.dir+"/old", nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "3 files, want 2"},
		{"a file that should be there", func(t *testing.T, l *ledger) {
			if err := os.Remove(l.files[0].path); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, out := newLedger(t)
			c.spoil(t, l)
			if err := l.everything(); err != nil {
				t.Fatal(err)
			}
			if l.fails == 0 || !strings.Contains(out.String(), c.want) {
				t.Errorf("it said %q, want %q", out, c.want)
			}
		})
	}
}

// overwrite puts something else into the first block of file 1.
func overwrite(t *testing.T, l *ledger, b []byte) {
	t.Helper()
	if _, err := l.files[1].cached.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := l.files[1].cached.Sync(); err != nil {
		t.Fatal(err)
	}
}
