package main

import (
	"github.com/belay-vm/belay/internal/control"
	"github.com/spf13/cobra"
)

func retireVerb(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "retire VOLUME",
		Short: "Make the oldest started checkpoint durable",
		Long: `Retire the oldest checkpoint that 'belay start' began: when the command returns, it is on
disk, and a takeover returns to it. Checkpoints without a name that were retired before it are
released.`,
		Example:           `  belay retire /var/lib/belay/web`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			return a.with(args[0], toChange, func(v control.Volume) error {
				p, err := v.Retire(cmd.Context())
				return a.printPoint(p, "retired", err)
			})
		}),
	}
}
