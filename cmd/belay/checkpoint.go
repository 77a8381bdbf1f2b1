package main

import (
	"fmt"
	"io"

	"github.com/belay-vm/belay/internal/control"
	"github.com/spf13/cobra"
)

func checkpointVerb(a *app) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "checkpoint VOLUME",
		Short: "Take a checkpoint and keep it",
		Long: `Start a checkpoint and retire it, in one. The guest goes on meanwhile; when the command
returns, the checkpoint is on disk and survives any crash. It is kept until it is deleted.

A name is unique in its volume, printable, at most 255 bytes, and not all digits.`,
		Example: `  belay checkpoint /var/lib/belay/web
  belay checkpoint /var/lib/belay/web --name before-upgrade`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			if err := checkName(name); err != nil {
				return err
			}
			return a.with(args[0], toChange, func(v control.Volume) error {
				p, err := v.Checkpoint(cmd.Context(), name)
				return a.printPoint(p, "taken", err)
			})
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the checkpoint")
	return cmd
}

// checkName refuses a bad name as what it is: a verb used wrongly.
func checkName(name string) error {
	if err := control.CheckName(name); err != nil {
		return &usageError{err}
	}
	return nil
}

// printPoint says what was done to a checkpoint.
func (a *app) printPoint(p control.Point, done string, err error) error {
	if err != nil {
		return err
	}
	return a.print(p, func(w io.Writer) { fmt.Fprintf(w, "%s %s\n", title(p), done) })
}
