package main

import (
	"fmt"
	"io"

	"github.com/belay-vm/belay/internal/control"
	"github.com/spf13/cobra"
)

func checkpointsVerb(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "checkpoints VOLUME",
		Short: "Show the checkpoints of a volume",
		Long: `Show the checkpoints of a volume as a tree. The disk's own history runs down the left edge to
the state of now; what a rollback left is drawn as a branch beside it. FREES is about what
deleting only that checkpoint would give back.`,
		Example: `  belay checkpoints /var/lib/belay/web
  belay checkpoints /var/lib/belay/web --json`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			return a.with(args[0], toRead, func(v control.Volume) error {
				h, err := v.History(cmd.Context())
				if err != nil {
					return err
				}
				return a.print(h, func(w io.Writer) { printHistory(w, h) })
			})
		}),
	}
}

func printHistory(w io.Writer, h control.History) {
	fmt.Fprintln(w, "CHECKPOINT\tNAME\tTIME\tSIZE\tFREES\tSTATE")
	for _, row := range tree(h) {
		if row.now {
			fmt.Fprintf(w, "%snow\t\t\t\t\t\n", row.art)
			continue
		}
		p := row.point
		fmt.Fprintf(w, "%s%d\t%s\t%s\t%s\t%s\t%s\n", row.art, p.ID, p.Name, clock(p.Time),
			amount(p.Size), amount(p.Frees), pointState(p))
	}
}

func pointState(p control.Point) string {
	switch {
	case p.Left:
		return "left by a rollback"
	case !p.Retired:
		return "started"
	case !p.Keep:
		return "retired, until the next is"
	}
	return "retired"
}
