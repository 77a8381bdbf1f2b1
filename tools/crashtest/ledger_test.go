package main

import (
	"errors"
	"strings"
	"testing"
)

// written is a ledger with one acknowledged write of 4 sectors at sector 8, and its data.
func written(t *testing.T) (*ledger, version, []byte) {
	t.Helper()
	l := newLedger(7, 64)
	if !l.reserve(8, 4) {
		t.Fatal("a fresh ledger is busy")
	}
	v := l.begin(8, 4, false)
	data := make([]byte, 4*sectorSize)
	l.fill(data, 8, v)
	l.settle(8, 4, v)
	l.release(8, 4)
	return l, v, data
}

func TestAcknowledgedWriteMustBeThere(t *testing.T) {
	l, _, data := written(t)
	if err := l.check(8, data); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		name   string
		damage func(p []byte)
		says   string
	}{
		{"lost", func(p []byte) { clear(p[:sectorSize]) }, "zeros"},
		{"torn", func(p []byte) { clear(p[256:sectorSize]) }, "torn"},
		{"misplaced", func(p []byte) { copy(p, p[sectorSize:2*sectorSize]) }, "of sector 9"},
		{"foreign", func(p []byte) { p[0] ^= 0xff }, "never wrote"},
	} {
		bad := append([]byte(nil), data...)
		c.damage(bad)
		err := l.check(8, bad)
		var m *misread
		if !errors.As(err, &m) || m.sector != 8 || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

func TestUnfinishedWriteMayBeOldOrNewAndStaysSo(t *testing.T) {
	l, _, old := written(t)
	l.reserve(8, 4)
	v := l.begin(8, 4, false)
	l.releaseAll()
	mixed := append([]byte(nil), old...)
	l.fill(mixed[:sectorSize], 8, v)
	if err := l.check(8, mixed); err != nil {
		t.Fatal(err)
	}
	if err := l.check(8, old); err == nil {
		t.Error("a sector went back from the new version to the old one")
	}
	if err := l.check(8, mixed); err != nil {
		t.Error(err)
	}
}

func TestZeroesAreAVersion(t *testing.T) {
	l, _, data := written(t)
	l.reserve(8, 4)
	v := l.begin(8, 4, true)
	l.settle(8, 4, v)
	if err := l.check(8, data); err == nil {
		t.Error("data outlived an acknowledged write-zeroes")
	}
	if err := l.check(8, make([]byte, len(data))); err != nil {
		t.Error(err)
	}
}

func TestBusySectorsAreNotReservedTwice(t *testing.T) {
	l := newLedger(1, 64)
	if !l.reserve(0, 8) || l.reserve(7, 2) || !l.reserve(8, 8) {
		t.Error("overlapping ranges were reserved, or idle ones refused")
	}
	l.release(0, 8)
	if !l.reserve(0, 8) {
		t.Error("a released range stays busy")
	}
}
