package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/belay-vm/belay/internal/control"
	"github.com/spf13/cobra"
)

func checkVerb(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check VOLUME",
		Short: "Verify a volume",
		Long: `Read all of a volume's metadata, verify every checksum and that everything agrees with
everything else; with data checksums, verify the data too. Nothing is changed. A volume that is
being served is verified beside its guest.

Exit code 1 and the place of the fault mean damage.`,
		Example:           `  belay check /var/lib/belay/web`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			b := a.bar("check", false)
			r, err := a.check(cmd.Context(), args[0], b.set)
			b.end(err)
			if err != nil {
				return about(args[0], err)
			}
			if err := a.print(r, func(w io.Writer) { printReport(w, args[0], r) }); err != nil {
				return err
			}
			return about(args[0], damage(r))
		}),
	}
}

func (a *app) check(ctx context.Context, dir string, p control.Progress) (control.Report, error) {
	client, err := control.Dial(dir)
	switch {
	case errors.Is(err, control.ErrNotServed):
		return a.stores.Check(ctx, dir, p)
	case err != nil:
		return control.Report{}, err
	}
	defer func() { _ = client.Close() }() // it only drops connections
	return client.Check(ctx, p)
}

func printReport(w io.Writer, dir string, r control.Report) {
	if len(r.Faults) > 0 {
		for _, fault := range r.Faults {
			fmt.Fprintln(w, fault)
		}
		return
	}
	data := "data not verified, as the volume has no data checksums"
	if r.Data {
		data = "data verified"
	}
	fmt.Fprintf(w, "%s is sound: %s mapped, %d pages of metadata, %d death records; %s\n",
		dir, amount(r.Blocks*blockSize), r.Pages, r.Records, data)
}

// damage turns the faults that a check found into the one line of a failure.
func damage(r control.Report) error {
	switch n := len(r.Faults); n {
	case 0:
		return nil
	case 1:
		return &control.Error{Code: control.CodeCorrupt, Message: r.Faults[0]}
	default:
		return &control.Error{Code: control.CodeCorrupt,
			Message: fmt.Sprintf("%s (and %d more faults)", r.Faults[0], n-1)}
	}
}
