package control

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
)

// fake is a Volume in memory: enough of one to tell answers and errors apart.
type fake struct {
	mu     sync.Mutex
	points []Point
	size   int64
	fail   error // what every verb answers when set

	pieces map[int64][]byte // what export sends, by offset
	broken error            // what ends an export or a check after its first piece
	gate   chan struct{}    // check and export wait for it, or for their context, when set
}

var epochZero = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (f *fake) Close() error { return nil }

func (f *fake) Status(context.Context) (Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Status{UUID: "u", Size: f.size, Points: len(f.points), Created: epochZero,
		Server: &Serving{PID: 7, Connected: true, Sessions: 2}}, f.fail
}

func (f *fake) History(context.Context) (History, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return History{Points: f.points, Lines: []Line{{ID: 1, Current: true}}}, f.fail
}

func (f *fake) put(name string, retired bool) (Point, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return Point{}, f.fail
	}
	p := Point{ID: uint32(len(f.points) + 1), Name: name, Line: 1, Time: epochZero,
		Retired: retired, Keep: name != ""}
	f.points = append(f.points, p)
	return p, nil
}

func (f *fake) Start(_ context.Context, name string) (Point, error)      { return f.put(name, false) }
func (f *fake) Checkpoint(_ context.Context, name string) (Point, error) { return f.put(name, true) }

func (f *fake) Retire(context.Context) (Point, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.points {
		if !f.points[i].Retired {
			f.points[i].Retired = true
			return f.points[i], f.fail
		}
	}
	return Point{}, &Error{Code: CodeNoPoint, Message: "nothing to retire"}
}

func (f *fake) find(at string) (Point, error) {
	for _, p := range f.points {
		if p.Name == at || strconv.Itoa(int(p.ID)) == at {
			return p, f.fail
		}
	}
	return Point{}, &Error{Code: CodeNoPoint, Message: fmt.Sprintf("no checkpoint %q", at)}
}

func (f *fake) Delete(_ context.Context, at string) (Point, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.find(at)
}

func (f *fake) Rollback(_ context.Context, to string) (Rollback, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, err := f.find(to)
	return Rollback{To: p, Line: 2}, err
}

func (f *fake) Undo(context.Context) (Rollback, error) {
	return Rollback{Line: 3}, f.fail
}

func (f *fake) Resize(_ context.Context, size int64, force bool) (Resized, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.size
	if size < before && !force {
		return Resized{}, &Error{Code: CodeShrink, Message: "would lose data"}
	}
	f.size = size
	return Resized{Before: before, After: size}, f.fail
}

func (f *fake) Check(ctx context.Context, p Progress) (Report, error) {
	p(1, 2)
	if err := f.wait(ctx); err != nil {
		return Report{}, err
	}
	p(2, 2)
	return Report{Pages: 2, Faults: []string{}}, f.broken
}

func (f *fake) Export(ctx context.Context, at string, to Sink) error {
	if at != "" {
		if _, err := f.find(at); err != nil {
			return err
		}
	}
	if err := to.Begin(f.size); err != nil {
		return err
	}
	for off := int64(0); off < f.size; off += 4096 {
		if p, ok := f.pieces[off]; ok {
			if err := to.Data(p, off); err != nil {
				return err
			}
		}
	}
	if err := f.wait(ctx); err != nil {
		return err
	}
	return f.broken
}

func (f *fake) Dump(ctx context.Context, w io.Writer, _ bool) error {
	if f.fail != nil {
		return f.fail
	}
	if _, err := io.WriteString(w, "superblock\n"); err != nil {
		return err
	}
	return f.broken
}

func (f *fake) wait(ctx context.Context) error {
	if f.gate == nil {
		return nil
	}
	select {
	case <-f.gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
