package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/belay-vm/belay/tools/daemon"
)

// target is the backend under test with its volume.
type target struct {
	belay   string   // the binary; empty for another backend
	command []string // another backend's command line
	dir     string   // holds everything
	volume  string
	socket  string
	queues  int
}

// newTarget makes a fresh volume.
func newTarget(o options) (*target, error) {
	dir, err := os.MkdirTemp(o.dir, "crashtest-")
	if err != nil {
		return nil, err
	}
	t := &target{dir: dir, volume: filepath.Join(dir, "vol"), socket: filepath.Join(dir, "sock"),
		queues: o.queues}
	if o.command == "" {
		t.belay = o.belay
		_, err = t.verb("create", t.volume, "--size", strconv.Itoa(volumeBytes))
		return t, err
	}
	names := strings.NewReplacer("{volume}", t.volume, "{socket}", t.socket,
		"{queues}", strconv.Itoa(t.queues))
	for _, word := range strings.Fields(o.command) {
		t.command = append(t.command, names.Replace(word))
	}
	f, err := os.Create(t.volume)
	if err != nil {
		return nil, err
	}
	return t, errors.Join(f.Truncate(volumeBytes), f.Close())
}

func (t *target) remove() error { return os.RemoveAll(t.dir) }

func (t *target) serve() (*daemon.Daemon, error) {
	if t.belay == "" {
		return daemon.Start(daemon.Command{Args: t.command, Socket: t.socket})
	}
	return daemon.Start(daemon.Command{Args: []string{t.belay, "serve", t.volume,
		"--socket-path", t.socket, "--num-queues", strconv.Itoa(t.queues)}})
}

// verb runs one of belay's verbs.
func (t *target) verb(args ...string) (string, error) {
	out, err := exec.Command(t.belay, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", t.belay, strings.Join(args, " "), err)
	}
	return string(out), nil
}

// hasCheckpoint looks for a name among the volume's checkpoints.
func (t *target) hasCheckpoint(name string) error {
	out, err := t.verb("checkpoints", t.volume, "--json")
	if err != nil {
		return err
	}
	quoted, err := json.Marshal(name)
	if err != nil {
		return err
	}
	if !strings.Contains(out, string(quoted)) {
		return fmt.Errorf("checkpoint %s was reported as taken and is not there: %s", name, out)
	}
	return nil
}
