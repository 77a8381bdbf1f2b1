package main

import (
	"github.com/belay-vm/belay/internal/guard"
	"github.com/spf13/cobra"
)

// guardVerb is the child that belay pair puts beside QEMU; it is hidden because only belay starts it.
func guardVerb(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    guard.Verb + " PROCESS",
		Short:  "End a QEMU whose belay was killed",
		Hidden: true,
		Args:   operands("PROCESS"),
		RunE: run(a, func(_ *cobra.Command, args []string) error {
			return guard.Run(args[0], a.stdout, a.stderr)
		}),
	}
}
