package main

import (
	"fmt"
	"io"

	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/internal/size"
	"github.com/spf13/cobra"
)

func resizeVerb(a *app) *cobra.Command {
	var to size.Flag
	var force bool
	cmd := &cobra.Command{
		Use:   "resize VOLUME --size SIZE",
		Short: "Change the size of the disk",
		Long: `Change the size of the disk. A running guest is told at once. What is added reads as zeroes.

Making the disk smaller discards what lies behind its new end (checkpoints keep it) and needs
--force.`,
		Example: `  belay resize /var/lib/belay/web --size 40G
  belay resize /var/lib/belay/web --size 10G --force`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			if to == 0 {
				return usagef("resize: --size is needed")
			}
			return a.with(args[0], toChange, func(v control.Volume) error {
				r, err := v.Resize(cmd.Context(), int64(to), force)
				if err != nil {
					return err
				}
				return a.print(r, func(w io.Writer) {
					fmt.Fprintf(w, "resized from %s to %s\n", amount(r.Before), amount(r.After))
				})
			})
		}),
	}
	cmd.Flags().Var(&to, "size", "new size, as 20G or 512M")
	cmd.Flags().BoolVar(&force, "force", false, "allow the disk to become smaller")
	return cmd
}
