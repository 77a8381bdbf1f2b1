package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/belay-vm/belay/internal/control"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// volumeFiles are what a volume's directory holds, in the order in which they are removed: what
// is left of a volume without its superblock is no volume, and cannot be taken for one.
var volumeFiles = []string{"superblock", "journal", "map", "data", "write-through", "pair",
	control.SocketName}

func removeVerb(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove VOLUME",
		Short: "Remove a volume and all its checkpoints",
		Long: `Remove a volume and all its checkpoints. It asks first; where there is no terminal to ask on,
--yes is needed. A volume that is in use is not removed.

A data file or device outside the volume's directory stays, and so do files in the directory
that are not the volume's.`,
		Example: `  belay remove /var/lib/belay/web
  belay remove /var/lib/belay/web --yes`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			return a.remove(cmd.Context(), args[0], yes)
		}),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) remove(ctx context.Context, dir string, yes bool) error {
	if err := notServed(dir); err != nil {
		return about(dir, err)
	}
	what := "a volume that cannot be opened"
	v, err := a.stores.Open(dir, toRead)
	switch code := control.CodeOf(err); {
	case err == nil:
		defer func() { _ = v.Close() }() // the lock is held until the files are gone
		st, err := v.Status(ctx)
		if err != nil {
			return about(dir, err)
		}
		what = fmt.Sprintf("a disk of %s with %d checkpoints", amount(st.Size), st.Points)
	case code == control.CodeCorrupt, code == control.CodeVersion, code == control.CodeBase:
		release, err := claimData(dir)
		if err != nil {
			return about(dir, err)
		}
		defer release()
	default:
		return about(dir, err) // no volume, or in use, or out of reach
	}
	if !yes {
		if err := a.confirm(fmt.Sprintf("remove %s, %s?", dir, what)); err != nil {
			return about(dir, err)
		}
	}
	return about(dir, a.removeFiles(dir))
}

// claimData takes the lock of a volume that is too damaged to be opened: a server that began
// before the damage was done may hold it still.
func claimData(dir string) (release func(), err error) {
	f, err := os.Open(filepath.Join(dir, "data"))
	if errors.Is(err, os.ErrNotExist) {
		return func() {}, nil // the data is on a device, whose server would have answered
	}
	if err != nil {
		return nil, reason(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		return nil, &control.Error{Code: control.CodeInUse, Message: "in use by another process"}
	}
	return func() { _ = f.Close() }, nil
}

// confirm asks on the terminal and returns an error unless the answer is yes.
func (a *app) confirm(question string) error {
	if !terminal(a.stdin) {
		return usagef("remove: without a terminal to ask on, --yes is needed")
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(io.LimitReader(a.stdin, 100)).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); err != nil || (answer != "y" && answer != "yes") {
		return &control.Error{Code: control.CodeInterrupted, Message: "not removed"}
	}
	return nil
}

func (a *app) removeFiles(dir string) error {
	for _, name := range volumeFiles {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return reason(err)
		}
	}
	gone := struct {
		Path      string   `json:"path"`
		Remaining []string `json:"remaining,omitempty"`
	}{Path: dir}
	left, err := os.ReadDir(dir)
	if err != nil {
		return reason(err)
	}
	for _, f := range left {
		gone.Remaining = append(gone.Remaining, f.Name())
	}
	if len(left) == 0 {
		// A directory that is a mount point or in another's care may stay; it is empty.
		_ = os.Remove(dir)
	}
	return a.print(gone, func(w io.Writer) {
		fmt.Fprintf(w, "removed %s\n", dir)
		if len(left) > 0 {
			fmt.Fprintf(w, "%d files that are not the volume's stay there\n", len(left))
		}
	})
}
