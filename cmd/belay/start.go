package main

import (
	"github.com/belay-vm/belay/internal/control"
	"github.com/spf13/cobra"
)

func startVerb(a *app) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "start VOLUME",
		Short: "Start a checkpoint without waiting for it",
		Long: `Put a checkpoint between what the guest has written and what it writes from now on. This
takes no time and waits for nothing; 'belay retire' makes the checkpoint durable and the one
that a takeover returns to. Several may be started before the first is retired, up to the
limit that the volume is served with (--max-unretired).

Without a name the checkpoint is released when a later one is retired.`,
		Example: `  belay start /var/lib/belay/web && belay retire /var/lib/belay/web
  belay start /var/lib/belay/web --name nightly`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			if err := checkName(name); err != nil {
				return err
			}
			return a.with(args[0], toChange, func(v control.Volume) error {
				p, err := v.Start(cmd.Context(), name)
				return a.printPoint(p, "started", err)
			})
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the checkpoint, which is then kept")
	return cmd
}
