package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/belay-vm/belay/internal/control"
	"github.com/spf13/cobra"
)

// listed is one volume found in a directory.
type listed struct {
	Path   string          `json:"path"`
	Status *control.Status `json:"status,omitempty"`
	Error  *control.Error  `json:"error,omitempty"`
}

func listVerb(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list DIR",
		Short: "List the volumes in a directory",
		Long: `List the volumes that lie directly in a directory, served or not. What cannot be opened is
listed with the reason.`,
		Example: `  belay list /var/lib/belay
  belay list /var/lib/belay --json`,
		Args:              operands("DIR"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			found, err := a.list(cmd.Context(), args[0])
			if err != nil {
				return about(args[0], err)
			}
			return a.print(found, func(w io.Writer) { printList(w, found) })
		}),
	}
}

func (a *app) list(ctx context.Context, dir string) ([]listed, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, reason(err)
	}
	found := []listed{} // an empty list in JSON too
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		if st, err := os.Stat(path); err != nil || !st.IsDir() {
			continue
		}
		st, err := a.status(ctx, path)
		switch {
		case err == nil:
			found = append(found, listed{Path: path, Status: &st})
		case ctx.Err() != nil:
			return nil, control.AsError(ctx.Err())
		case control.CodeOf(err) != control.CodeNotVolume:
			found = append(found, listed{Path: path, Error: control.AsError(err)})
		}
	}
	return found, nil
}

// status asks one volume; its errors do not name it.
func (a *app) status(ctx context.Context, path string) (control.Status, error) {
	v, err := a.open(path, toRead)
	if err != nil {
		return control.Status{}, err
	}
	st, err := v.Status(ctx)
	if closed := v.Close(); err == nil {
		err = closed
	}
	return st, err
}

func printList(w io.Writer, found []listed) {
	fmt.Fprintln(w, "VOLUME\tDISK\tDATA\tCHECKPOINTS\tSTATE")
	for _, l := range found {
		name := filepath.Base(l.Path)
		if l.Error != nil {
			fmt.Fprintf(w, "%s\t-\t-\t-\t%s\n", name, oneLine(l.Error))
			continue
		}
		st := l.Status
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", name, amount(st.Size), amount(st.Space.Used),
			st.Points, volumeState(st))
	}
}

func volumeState(st *control.Status) string {
	switch {
	case st.Error != "":
		return "error: " + st.Error
	case st.Server == nil:
		return "not served"
	case st.Server.Connected:
		return "in use"
	}
	return "served, no front end"
}
