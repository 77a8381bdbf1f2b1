package main

import (
	"context"
	"fmt"
	"io"

	"github.com/belay-vm/belay/internal/control"
	"github.com/spf13/cobra"
)

func rollbackVerb(a *app) *cobra.Command {
	var to string
	var undo bool
	cmd := &cobra.Command{
		Use:   "rollback VOLUME (--to CHECKPOINT | --undo)",
		Short: "Return the disk to a checkpoint",
		Long: `Return the disk to a checkpoint, given by number or name. Nothing is lost: the state that is
left, and every checkpoint newer than the one returned to, stay as a branch, and --undo returns
to the state before the last rollback.

A guest must not be running: its memory would know a disk that is no more. While a front end is
connected, even one whose guest is paused, the command refuses.`,
		Example: `  belay rollback /var/lib/belay/web --to before-upgrade
  belay rollback /var/lib/belay/web --undo`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			if (to == "") != undo {
				return usagef("rollback: one of --to and --undo is needed")
			}
			return a.with(args[0], toChange, func(v control.Volume) error {
				r, err := rollback(cmd.Context(), v, to)
				return a.printRollback(args[0], r, err)
			})
		}),
	}
	cmd.Flags().StringVar(&to, "to", "", "number or name of the checkpoint to return to")
	cmd.Flags().BoolVar(&undo, "undo", false, "return to the state before the last rollback")
	completeCheckpoints(a, cmd, "to")
	return cmd
}

// rollback returns to a checkpoint, or undoes the last return where none is given.
func rollback(ctx context.Context, v control.Volume, to string) (control.Rollback, error) {
	if to == "" {
		return v.Undo(ctx)
	}
	return v.Rollback(ctx, to)
}

func (a *app) printRollback(dir string, r control.Rollback, err error) error {
	if err != nil {
		return err
	}
	return a.print(r, func(w io.Writer) {
		fmt.Fprintf(w, "rolled back to %s\n", title(r.To))
		fmt.Fprintf(w, "the state before is %s; 'belay rollback %s --undo' returns to it\n", title(r.Left), dir)
	})
}
