package main

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/internal/pair"
)

// point, rolledBack and Status translate the store's words into those of the control
// interface, which change only with its version.
func point(p checkpoint.Point) control.Point {
	return control.Point{
		ID: p.ID, Name: p.Name, Line: p.Line, Time: p.Time, Size: p.Size, Sequence: p.Sequence,
		Retired: p.Retired, Keep: p.Keep, Left: p.Left, Frees: p.Bytes,
	}
}

func rolledBack(r checkpoint.RollbackResult) control.Rollback {
	return control.Rollback{To: point(r.To), Left: point(r.Left), Line: r.Line, Blocks: int64(r.Blocks)}
}

func (v *volume) Status(context.Context) (control.Status, error) {
	st := v.store.Status()
	dir, data := absolute(v.dir), st.Data
	if data == "" {
		data = filepath.Join(dir, "data")
	}
	return control.Status{
		UUID: st.ID, Path: dir, Data: data, Base: st.Base, Created: st.Created, Size: st.Size,
		Checksums: st.Checksums, Generation: st.Generation, Epoch: st.Epoch,
		Line: st.Line, Sequence: st.Sequence, Points: st.Points, Unretired: st.Unretired,
		Background: st.Background, Error: st.Error, Pair: pair.Stopped(v.store),
		Space: control.Space{
			Used: st.Used, Limbo: st.Limbo, Free: st.Free, Punched: st.Punched, Slack: st.Slack,
			Data: st.DataArea, Map: st.MapSize, MapMemory: st.MapMemory, Memory: st.Memory,
			Allocated: allocated(v.dir),
		},
		Journal: control.Journal{Used: st.JournalUsed, Size: st.JournalSize},
		Work: control.Work{
			Flushes: st.Flushes, Quick: st.QuickFlushes, Snapshots: st.Snapshots, Bounced: st.Bounced,
			Remerged: st.Remerged, Punched: st.BytesPunched, BadSums: st.BadSums,
		},
	}, nil
}

// sectorSize is the unit of stat's blocks (stat(2)), and of disks.
const sectorSize = 512

// allocated is what a volume's own files take on the host. One that cannot be looked at counts as
// nothing.
func allocated(dir string) (sum int64) {
	for _, path := range ownFiles(dir) {
		if st, err := os.Stat(path); err == nil {
			sum += st.Sys().(*syscall.Stat_t).Blocks * sectorSize
		}
	}
	return sum
}

// absolute makes a path mean the same to whoever asks, wherever he is.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path // the working directory is gone
}

// serial is what a guest sees where nobody chose a serial number: the beginning of the volume's
// own identity, as much as fits.
func (v *volume) serial() string { return v.store.Status().ID[:20] }
