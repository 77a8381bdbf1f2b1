package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
)

// backendVerb is the verb that follows QEMU's conventions for vhost-user backend programs
// (docs/interop/vhost-user.rst, "Backend program conventions").
const backendVerb = "vhost-user-blk"

// capabilities is what the conventions want printed; the words are those of QEMU's
// docs/interop/vhost-user.json.
const capabilities = `{
  "type": "block",
  "features": [
    "read-only",
    "blk-file"
  ]
}
`

// wantsCapabilities reports whether the arguments ask for the capabilities. The conventions
// want every other option ignored then, also one that would be an error.
func wantsCapabilities(args []string) bool {
	return len(args) > 0 && args[0] == backendVerb && slices.Contains(args, "--print-capabilities")
}

func (a *app) printCapabilities() error {
	_, err := fmt.Fprint(a.stdout, capabilities)
	return err
}

func vhostUserBlkVerb(a *app) *cobra.Command {
	var o serveOptions
	var volume string
	cmd := &cobra.Command{
		Use:   backendVerb + " --blk-file=VOLUME (--socket-path=PATH | --fd=N)",
		Short: "Serve a volume by QEMU's conventions for backend programs",
		Long: `Serve a volume as 'belay serve' does, with the options that QEMU's conventions give to
vhost-user backend programs. Under the name vhost-user-blk the program is this verb, for
description files as 50-belay.json.`,
		Example: `  belay vhost-user-blk --print-capabilities
  belay vhost-user-blk --socket-path=/run/web.sock --blk-file=/var/lib/belay/web`,
		Args: operands(),
		RunE: run(a, func(cmd *cobra.Command, _ []string) error {
			if volume == "" {
				return usagef("%s: --blk-file is needed", backendVerb)
			}
			return a.serve(cmd.Context(), volume, o)
		}),
	}
	o.defaults()
	f := cmd.Flags()
	f.StringVar(&volume, "blk-file", "", "the volume")
	f.StringVar(&o.socketPath, "socket-path", "", "listen on a UNIX socket")
	f.IntVar(&o.fd, "fd", -1, "serve the front end that is connected to this file descriptor")
	f.BoolVar(&o.readOnly, "read-only", false, "let the guest read only")
	f.Bool("print-capabilities", false, "print what this program can do, as JSON, and exit")
	return cmd
}
