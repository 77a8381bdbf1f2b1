package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"

	"github.com/spf13/cobra"
)

func main() { os.Exit(belay()) }

// belay runs the program on the process's own arguments and streams.
func belay() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The second signal finds the default action again and ends the process at once.
	context.AfterFunc(ctx, stop)
	return newApp(os.Stdin, os.Stdout, os.Stderr).run(ctx, programArgs(os.Args))
}

// programArgs returns the arguments behind the program's name. Under a name of its own,
// vhost-user-blk, the program is the verb of that name: QEMU's description files hold a
// path and no arguments.
func programArgs(args []string) []string {
	name, rest := filepath.Base(args[0]), args[1:]
	if name == backendVerb || name == "belay-"+backendVerb {
		return append([]string{backendVerb}, rest...)
	}
	return rest
}

// run executes one verb and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	if wantsCapabilities(args) {
		return a.exit(nil, a.printCapabilities())
	}
	root := newRoot(a)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.begun {
		err = &usageError{err} // cobra found fault with the arguments before a verb began
	}
	return a.exit(cmd, err)
}

// exit prints the one line of a failure and returns the exit code.
func (a *app) exit(cmd *cobra.Command, err error) int {
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(a.stderr, "belay: %s (see '%s --help')\n", oneLine(err), cmd.CommandPath())
		return 2
	}
	fmt.Fprintf(a.stderr, "belay: %s\n", oneLine(err))
	return 1
}

// usageError is a verb used wrongly.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// oneLine makes an error's text safe to print as one line, whatever names from outside it
// quotes.
func oneLine(err error) string {
	fields := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r):
			return '?'
		}
		return r
	}, strings.Join(fields, "; "))
}
