package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manVerb writes the manual pages; it is hidden because only the build uses it.
func manVerb(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages into a directory",
		Hidden: true,
		Args:   operands("DIR"),
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o777); err != nil {
				return reason(err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			// A fixed date makes two builds of one source the same, byte for byte.
			date := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
			return reason(doc.GenManTree(root, &doc.GenManHeader{
				Section: "1", Source: "belay", Manual: "belay", Date: &date,
			}, args[0]))
		}),
	}
}
