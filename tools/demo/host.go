package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/belay-vm/belay/tools/daemon"
	"github.com/belay-vm/belay/tools/pair"
)

// Ports of a host: where its belay awaits a primary, and its QEMU a guest.
const (
	mirrorPort = 7000
	coloPort   = 7001
)

// volumeName stands for the volume's path in what is shown.
const volumeName = "web"

// host is a side of the pair with what runs there.
type host struct {
	program string
	side    *pair.Side
	server  *daemon.Daemon
	vm      *pair.Machine
}

func newHost(belay string, side *pair.Side) *host { return &host{program: belay, side: side} }

func (h *host) volume() string { return h.side.Path(volumeName) }
func (h *host) socket() string { return h.side.Path(volumeName + ".sock") }
func (h *host) uri() string    { return h.side.URI(coloPort) }

// belay is a command line of belay's in the host's namespace; the word volumeName becomes its volume.
func (h *host) belay(words ...string) []string {
	all := h.side.Inside(h.program)
	for _, w := range words {
		if w == volumeName {
			w = h.volume()
		}
		all = append(all, w)
	}
	return all
}

// shorten takes the demonstration's own directories out of what is shown.
func (h *host) shorten(words ...string) string {
	return strings.ReplaceAll(strings.Join(words, " "), h.side.Dir+"/", "")
}

// partner are the flags that name another host as the secondary.
func (h *host) partner(to *host) []string {
	return []string{"--peer", fmt.Sprintf("%s:%d", to.side.Addr, mirrorPort), "--migrate-uri", to.uri()}
}

func (h *host) primary(peer *host) []string { return h.words("primary", h.partner(peer)...) }

func (h *host) secondary() []string {
	return h.words("secondary", "--listen", fmt.Sprintf("%s:%d", h.side.Addr, mirrorPort))
}

// words are those of belay as a side of the pair.
func (h *host) words(role string, more ...string) []string {
	all := []string{"pair", role, volumeName, "--socket-path", h.socket(),
		"--qmp", h.side.Sockets().String(), "--num-queues", "1"}
	return append(append(all, more...), "--manual", "--plaintext")
}

// serve starts belay and waits until QEMU may be started.
func (h *host) serve(words []string) (err error) {
	h.server, err = daemon.Start(daemon.Command{Args: h.belay(words...)})
	return err
}

// kill is kill -9 of both processes. belay goes first: it would tell the other host that QEMU has died.
func (h *host) kill() {
	if h.server != nil {
		h.server.Kill()
	}
	if h.vm != nil {
		h.vm.Kill()
	}
	h.server, h.vm = nil, nil
}

// pairStatus is what the demonstration looks at.
type pairStatus struct {
	State string
	Pause pause `json:"last_pause"`
}

// pause is the last checkpoint's, in milliseconds.
type pause struct {
	Drain       float64 `json:"drain_ms"`
	Tail        float64 `json:"tail_ms"`
	Acknowledge float64 `json:"acknowledge_ms"`
	QEMU        float64 `json:"qemu_ms"`
}

func (p pause) String() string {
	return fmt.Sprintf("%.1f ms for the disk (drain, send the rest, hear of it), %.1f ms for the memory",
		p.Drain+p.Tail+p.Acknowledge, p.QEMU)
}

// status asks the host's belay.
func (h *host) status(ctx context.Context) (pairStatus, error) {
	words := h.belay("status", volumeName, "--json")
	out, err := exec.CommandContext(ctx, words[0], words[1:]...).Output()
	var s struct{ Pair pairStatus }
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	return s.Pair, err
}

// await waits until the host's belay is in a state.
func (h *host) await(ctx context.Context, state string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := h.status(ctx)
		if err == nil && s.State == state {
			return nil
		}
		select {
		case <-tick.C:
		case <-h.server.Exited():
			return fmt.Errorf("belay on host %v has ended", h.side.ID)
		case <-ctx.Done():
			return fmt.Errorf("host %v is %q, not %q: %w", h.side.ID, s.State, state, ctx.Err())
		}
	}
}
