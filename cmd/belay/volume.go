package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/belay-vm/belay/internal/control"
	"github.com/spf13/cobra"
)

// stores is how the verbs reach volumes that nobody serves. Disk implements it; tests put
// volumes in memory in its place.
type stores interface {
	Create(dir string, o createOptions) error
	Open(dir string, readOnly bool) (offline, error)
	Check(ctx context.Context, dir string, p control.Progress) (control.Report, error)
	Dump(dir string, w io.Writer, asJSON bool) error
}

// offline is a volume opened by this process for one verb.
type offline interface {
	control.Volume
	Size() int64
	WriteAt(p []byte, off int64) (int, error)
	Zero(off, n int64) error
	Sync() error
}

// Whether a verb changes the volume. Only a change needs the volume's files to be writable.
const (
	toRead   = true
	toChange = false
)

// with lets a verb work on the volume in dir: through the process that serves it, or by
// opening it. Errors name the volume.
func (a *app) with(dir string, readOnly bool, work func(v control.Volume) error) error {
	v, err := a.open(dir, readOnly)
	if err == nil {
		err = work(v)
		if closed := v.Close(); err == nil {
			err = closed
		}
	}
	return about(dir, err)
}

func (a *app) open(dir string, readOnly bool) (control.Volume, error) {
	client, err := control.Dial(dir)
	if err == nil {
		return client, nil
	}
	if !errors.Is(err, control.ErrNotServed) {
		return nil, err
	}
	return a.stores.Open(dir, readOnly)
}

// notServed refuses a verb that no volume can bear while it is served.
func notServed(dir string) error {
	client, err := control.Dial(dir)
	switch {
	case err == nil:
		_ = client.Close() // nothing was asked of it
		return &control.Error{Code: control.CodeInUse, Message: "volume is being served; stop that first"}
	case errors.Is(err, control.ErrNotServed):
		return nil
	}
	return err
}

// about says which volume or file an error is about.
func about(what string, err error) error {
	var usage *usageError
	if err == nil || errors.As(err, &usage) {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// volumeArgs completes the first argument with directories.
func volumeArgs(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// completeCheckpoints lets a flag be completed with the checkpoints of the volume that stands
// first on the command line.
func completeCheckpoints(a *app, cmd *cobra.Command, flag string) {
	complete := func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		// Completion has nowhere to report an error to; it offers nothing then.
		_ = a.with(args[0], toRead, func(v control.Volume) error {
			h, err := v.History(cmd.Context())
			for _, p := range h.Points {
				out = append(out, fmt.Sprintf("%s\t%s", label(p), clock(p.Time)))
			}
			return err
		})
		return out, cobra.ShellCompDirectiveNoFileComp
	}
	invariant(cmd.RegisterFlagCompletionFunc(flag, complete))
}

// label is how a checkpoint is called on the command line: its name, or its number.
func label(p control.Point) string {
	if p.Name != "" {
		return p.Name
	}
	return fmt.Sprint(p.ID)
}

// title is how a checkpoint is called in a sentence.
func title(p control.Point) string {
	if p.Name != "" {
		return fmt.Sprintf("checkpoint %d %q", p.ID, p.Name)
	}
	return fmt.Sprintf("checkpoint %d", p.ID)
}
