package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// app is what every verb shares: the streams, and the flags of the root command.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	json           bool
	begun          bool // a verb was entered: what fails from here on is no usage error of cobra's
	stores         stores
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{stdin: stdin, stdout: stdout, stderr: stderr, stores: disk{}}
}

// newRoot returns the command tree.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "belay",
		Short: "Disks for virtual machines that can be caught when they fall",
		Long: `belay serves a disk to QEMU over vhost-user-blk. Every write goes to a fresh place, so a
checkpoint of a running guest costs nothing to take, and a volume can be rolled back to any
checkpoint it retains.

A VOLUME is a directory. Most verbs work on a volume whether or not it is being served.`,
		Example: `  belay create /var/lib/belay/web --size 20G
  belay serve /var/lib/belay/web --socket-path /run/belay/web.sock
  belay checkpoint /var/lib/belay/web --name before-upgrade
  belay rollback /var/lib/belay/web --to before-upgrade`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON")
	root.AddCommand(
		createVerb(a), serveVerb(a), vhostUserBlkVerb(a),
		pairVerb(a), failoverVerb(a), reprotectVerb(a), verifyPairVerb(a),
		checkpointVerb(a), startVerb(a), retireVerb(a), checkpointsVerb(a),
		rollbackVerb(a), deleteVerb(a),
		statusVerb(a), resizeVerb(a), listVerb(a), removeVerb(a), topVerb(a), traceVerb(a),
		checkVerb(a), dumpVerb(a), exportVerb(a), importVerb(a),
		manVerb(a), versionVerb(a), guardVerb(a),
	)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	completionVerb(a, root)
	return root
}

// run wraps a verb's work so that its errors are told from cobra's.
func run(a *app, work func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.begun = true
		return work(cmd, args)
	}
}

// operands demands one argument for each name.
func operands(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("%s is missing", names[len(args)])
		case len(args) > len(names):
			return fmt.Errorf("unexpected argument %q", args[len(names)])
		}
		for i, arg := range args {
			if arg == "" {
				return fmt.Errorf("%s is empty", names[i])
			}
		}
		return nil
	}
}

// invariant stops the program over a fault in its own source, such as a flag that is completed
// and not declared.
func invariant(err error) {
	if err != nil {
		panic(err)
	}
}

// print writes an answer: as JSON where it was asked for, and in words otherwise.
func (a *app) print(v any, words func(w io.Writer)) error {
	if a.json {
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	words(w)
	return w.Flush()
}

// terminal reports whether a stream is one.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// amount prints bytes for a person.
func amount(n int64) string {
	if n < 0 {
		return "-"
	}
	return humanize.IBytes(uint64(n))
}

// clock prints a time for a person.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
