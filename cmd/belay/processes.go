package main

import (
	"path/filepath"
	"slices"

	"github.com/prometheus/procfs"
	"github.com/spf13/cobra"
)

// process is one that serves a volume.
type process struct {
	pid int
	dir string // the volume, as its command line has it, made absolute
}

// processes lists those of this host that serve volumes, as far as they can be looked at.
func processes() ([]process, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	var found []process
	for _, p := range all {
		if dir := volumeOf(p); dir != "" {
			found = append(found, process{p.PID, dir})
		}
	}
	return found, nil
}

// processOf is the volume that a process serves, or "" for one that serves none.
func processOf(pid int) string {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return ""
	}
	return volumeOf(p)
}

// volumeOf is the volume that a process serves, by its command line; "" where it serves none, or is
// gone.
func volumeOf(p procfs.Proc) string {
	args, err := p.CmdLine()
	if err != nil || len(args) == 0 {
		return ""
	}
	dir := volumeArg(args)
	if dir == "" || filepath.IsAbs(dir) {
		return dir
	}
	cwd, err := p.Cwd()
	if err != nil {
		return ""
	}
	return filepath.Join(cwd, dir)
}

// programNames are those under which belay serves.
var programNames = []string{"belay", backendVerb, "belay-" + backendVerb}

// volumeArg finds the volume in the command line of a server: by the verbs' own flags.
func volumeArg(args []string) string {
	if !slices.Contains(programNames, filepath.Base(args[0])) {
		return ""
	}
	cmd, rest, err := newRoot(newApp(nil, nil, nil)).Find(programArgs(args))
	if err != nil || cmd.ParseFlags(rest) != nil {
		return ""
	}
	switch cmd.Name() {
	case "serve":
		return cmd.Flags().Arg(0)
	case backendVerb:
		return flagOf(cmd, "blk-file")
	}
	return ""
}

func flagOf(cmd *cobra.Command, name string) string { return cmd.Flag(name).Value.String() }
