package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The second signal finds the default action again and ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// usageError is a command line that asks for what there is not.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// execute runs one verb and returns the exit code: 2 for a wrong command line, 1 for a failure.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	begun := false // a verb was entered: what fails from here on is no usage error of cobra's
	root := &cobra.Command{
		Use:           "vhostbench",
		Short:         "Measure vhost-user-blk back ends",
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			begun = true
		},
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(runVerb(stdout, stderr), nullVerb(stdout))
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var usage *usageError
	if begun && !errors.As(err, &usage) {
		fmt.Fprintf(stderr, "vhostbench: %v\n", err)
		return 1
	}
	fmt.Fprintf(stderr, "vhostbench: %v (see '%s --help')\n", err, cmd.CommandPath())
	return 2
}
