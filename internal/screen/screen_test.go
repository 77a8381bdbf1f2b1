package screen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	tea "charm.land/bubbletea/v2"
)

// page counts what it is told.
type page struct {
	number int
	keys   []string
	sizes  [][2]int
}

func (p *page) Render(width, height int, _ bool) string {
	p.sizes = append(p.sizes, [2]int{width, height})
	return fmt.Sprintf("number %d", p.number)
}

func (p *page) Press(key string) { p.keys = append(p.keys, key) }

func show(t *testing.T, p *page, in io.Reader, work Work) (string, error) {
	t.Helper()
	var out locked
	err := Show(t.Context(), in, &out, p, work, tea.WithWindowSize(40, 10),
		tea.WithEnvironment([]string{"TERM=xterm-256color"}))
	return out.String(), err
}

// locked is a buffer for several goroutines.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestWorkEndsTheShow(t *testing.T) {
	p := &page{}
	broken := errors.New("broken")
	out, err := show(t, p, nil, func(_ context.Context, change func(func())) error {
		change(func() { p.number = 42 })
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("error: %v", err)
	}
	if p.number != 42 || !strings.Contains(out, "42") {
		t.Errorf("number %d; shown: %q", p.number, out)
	}
}

func TestTheUserLeaves(t *testing.T) {
	p := &page{}
	in, keys := io.Pipe()
	defer keys.Close()
	go func() { _, _ = keys.Write([]byte("wq")) }()
	_, err := show(t, p, in, func(ctx context.Context, _ func(func())) error {
		<-ctx.Done()
		return nil
	})
	if err != nil || strings.Join(p.keys, " ") != "w" {
		t.Errorf("error %v, keys %q", err, p.keys)
	}
	if len(p.sizes) == 0 || p.sizes[len(p.sizes)-1] != [2]int{40, 10} {
		t.Errorf("sizes: %v", p.sizes)
	}
}

func TestTheContextEnds(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	err := Show(ctx, nil, io.Discard, &page{}, func(ctx context.Context, change func(func())) error {
		change(stop)
		<-ctx.Done()
		return nil
	}, tea.WithEnvironment([]string{"TERM=xterm"}))
	if err != nil {
		t.Error(err)
	}
}
