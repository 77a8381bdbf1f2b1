package main

import (
	"github.com/belay-vm/belay/internal/control"
	"github.com/spf13/cobra"
)

func deleteVerb(a *app) *cobra.Command {
	var checkpoint string
	cmd := &cobra.Command{
		Use:   "delete VOLUME --checkpoint CHECKPOINT",
		Short: "Delete a checkpoint",
		Long: `Delete a checkpoint, given by number or name. Any one can be deleted; the others keep all
they hold. The space that only it held comes back in the background.`,
		Example: `  belay delete /var/lib/belay/web --checkpoint before-upgrade
  belay delete /var/lib/belay/web --checkpoint 7`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			if checkpoint == "" {
				return usagef("delete: --checkpoint is needed")
			}
			return a.with(args[0], toChange, func(v control.Volume) error {
				p, err := v.Delete(cmd.Context(), checkpoint)
				return a.printPoint(p, "deleted", err)
			})
		}),
	}
	cmd.Flags().StringVar(&checkpoint, "checkpoint", "", "number or name of the checkpoint")
	completeCheckpoints(a, cmd, "checkpoint")
	return cmd
}
