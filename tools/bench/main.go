package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/belay-vm/belay/tools/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The second signal finds the default action again and ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := newRoot().ExecuteContext(ctx); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; everything was cleaned up and nothing was saved")
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use: "bench", Short: "Measure belay beside its peers", SilenceErrors: true, SilenceUsage: true,
	}
	root.AddCommand(runVerb(), rowsVerb(), compareVerb(), traceVerb())
	return root
}

func runVerb() *cobra.Command {
	o := defaults()
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Measure, judge and save",
		Long: `Measure every row of the table in interleaved rounds, judge the ratios, and save samples, table
and plot. Whatever else the machine does meanwhile is in the figures: the A/A ratios show it.`,
		Example: `  bench run
  bench run --rows 'randwrite.*' --rounds 15
  bench run --rows scale
  bench run --short`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.complete(cmd.Flags().Changed); err != nil {
				return err
			}
			return run(cmd.Context(), &o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.flags(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&o.out, "out", o.out, "where the result is saved (default bench/DATE-COMMIT)")
	f.BoolVar(&o.noScale, "no-scale", o.noScale, "leave out the figures of the store itself")
	return cmd
}

func rowsVerb() *cobra.Command {
	return &cobra.Command{
		Use: "rows", Short: "Show what is measured", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := defaults()
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, r := range rows {
				fmt.Fprintf(w, "%s\t%s; %s\n", r.name, r.title, r.place.describe(&o))
			}
			fmt.Fprintf(w, "%s\tfigures of the store itself\n", scaleRow)
			return w.Flush()
		},
	}
}

func compareVerb() *cobra.Command {
	return &cobra.Command{
		Use:   "compare [A B]",
		Short: "Set two results side by side",
		Long: `Set two results side by side: B in terms of A, and whether that is more than the machine makes of
no difference. Without arguments, the two newest below bench/.`,
		Args: cobra.MatchAll(cobra.MaximumNArgs(2), func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				return errors.New("name both results, or none")
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			return compare(cmd.OutOrStdout(), args)
		},
	}
}

func compare(w io.Writer, args []string) error {
	if len(args) == 0 {
		older, newer, err := report.Newest(results)
		if err != nil {
			return err
		}
		args = []string{older, newer}
	}
	a, err := report.Load(args[0])
	if err != nil {
		return err
	}
	b, err := report.Load(args[1])
	if err != nil {
		return err
	}
	return report.Compare(w, a, b)
}
