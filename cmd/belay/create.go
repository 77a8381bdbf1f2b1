package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/belay-vm/belay/internal/size"
	"github.com/spf13/cobra"
)

// createOptions is what a new volume is made of.
type createOptions struct {
	Size       int64 // 0: the base's
	Base       string
	BaseFormat string
	Data       string
	Force      bool
	Checksums  bool
	Slack      int
	Journal    int64
}

func createVerb(a *app) *cobra.Command {
	var o createOptions
	var disk, journal size.Flag
	cmd := &cobra.Command{
		Use:   "create VOLUME",
		Short: "Make a new volume",
		Long: `Make a new volume in the directory VOLUME, which must be empty or not exist.

With --base the disk begins with the content of an image, which is never written and must
stay where it is; the disk has the image's size unless --size says more.`,
		Example: `  belay create /var/lib/belay/web --size 20G
  belay create /var/lib/belay/web --base debian-13.qcow2
  belay create /var/lib/belay/db --size 1T --data /dev/nvme1n1 --checksums`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			o.Size, o.Journal = int64(disk), int64(journal)
			return create(a, args[0], o)
		}),
	}
	f := cmd.Flags()
	f.Var(&disk, "size", "size of the disk, as 20G or 512M")
	f.StringVar(&o.Base, "base", "", "image that the disk begins with")
	f.StringVar(&o.BaseFormat, "base-format", "", "format of the base: raw or qcow2 (default: looked up in it)")
	f.StringVar(&o.Data, "data", "", "block device for the data (default: a file in VOLUME)")
	f.BoolVar(&o.Force, "force", false, "take the device even if it holds something")
	f.BoolVar(&o.Checksums, "checksums", false, "checksum the data too, not only the metadata")
	f.IntVar(&o.Slack, "slack", 0, "percent of space kept free for redirected writes (default 30)")
	f.Var(&journal, "journal-size", "size of the journal (default 64M)")
	return cmd
}

func create(a *app, dir string, o createOptions) error {
	switch {
	case o.Size == 0 && o.Base == "":
		return usagef("create: one of --size and --base is needed")
	case o.BaseFormat != "" && o.Base == "":
		return usagef("create: --base-format needs --base")
	case o.BaseFormat != "" && o.BaseFormat != "raw" && o.BaseFormat != "qcow2":
		return usagef("create: --base-format is raw or qcow2, not %q", o.BaseFormat)
	case o.Slack < 0 || o.Slack > 1000:
		return usagef("create: --slack is between 1 and 1000 percent")
	}
	if o.Data != "" {
		// The volume must find its device from wherever it is opened.
		path, err := filepath.Abs(o.Data)
		if err != nil {
			return about(dir, err)
		}
		o.Data = path
	}
	if err := a.stores.Create(dir, o); err != nil {
		return about(dir, err)
	}
	v, err := a.stores.Open(dir, toRead)
	if err != nil {
		return about(dir, err)
	}
	made := struct {
		Path string `json:"path"`
		Size int64  `json:"size_bytes"`
	}{dir, v.Size()}
	if err := v.Close(); err != nil {
		return about(dir, err)
	}
	return a.print(made, func(w io.Writer) {
		fmt.Fprintf(w, "created %s with a disk of %s\n", made.Path, amount(made.Size))
	})
}
