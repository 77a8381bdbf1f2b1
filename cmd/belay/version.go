package main

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is set by the linker for a release: -X main.release=1.2.3.
var release string

type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
}

// programVersion reads what the build recorded about itself.
func programVersion() versionInfo {
	v := versionInfo{Version: release}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Go = info.GoVersion
	if v.Version == "" {
		v.Version = info.Main.Version
	}
	if v.Version == "" {
		v.Version = "(devel)"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Revision = s.Value
		}
	}
	return v
}

func versionVerb(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the program's version",
		Example: `  belay version --json`,
		Args:    operands(),
		RunE: run(a, func(*cobra.Command, []string) error {
			v := programVersion()
			return a.print(v, func(w io.Writer) { fmt.Fprintf(w, "belay %s %s %s\n", v.Version, v.Revision, v.Go) })
		}),
	}
}
