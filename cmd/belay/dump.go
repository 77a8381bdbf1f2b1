package main

import (
	"bufio"
	"context"
	"errors"
	"io"

	"github.com/belay-vm/belay/internal/control"
	"github.com/spf13/cobra"
)

func dumpVerb(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "dump VOLUME",
		Short: "Print a volume's metadata",
		Long: `Print what a volume's metadata says, an item a line: superblock, catalog, journal, checkpoints with
their death records, map. Of a served volume it is the state of a snapshot made for it, which leaves
nothing in the journal. With --json each line is an object.`,
		Example:           `  belay dump /var/lib/belay/web | less`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			w := bufio.NewWriterSize(a.stdout, 1<<16)
			err := a.dump(cmd.Context(), args[0], w)
			if flushed := w.Flush(); err == nil {
				err = flushed
			}
			return about(args[0], err)
		}),
	}
}

func (a *app) dump(ctx context.Context, dir string, w io.Writer) error {
	client, err := control.Dial(dir)
	switch {
	case errors.Is(err, control.ErrNotServed):
		return a.stores.Dump(dir, w, a.json)
	case err != nil:
		return err
	}
	defer func() { _ = client.Close() }() // it only drops connections
	return client.Dump(ctx, w, a.json)
}
