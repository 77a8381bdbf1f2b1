package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/belay-vm/belay/internal/control"
	"github.com/spf13/cobra"
)

// exportOptions says what is exported and how.
type exportOptions struct {
	at     string
	format string
}

func exportVerb(a *app) *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export VOLUME FILE",
		Short: "Write the disk, or a checkpoint of it, to an image file",
		Long: `Write the state of now, or of a checkpoint given by number or name, to FILE: raw with holes
where the disk holds zeroes, or qcow2 (made by qemu-img). The guest may go on meanwhile.

A file appears under its name only when it is complete; until then it grows beside its place,
and is removed when the export is interrupted. A block device is written directly.`,
		Example: `  belay export /var/lib/belay/web web.raw
  belay export /var/lib/belay/web --at before-upgrade --format qcow2 web.qcow2
  belay export /var/lib/belay/web /dev/sdx`,
		Args:              operands("VOLUME", "FILE"),
		ValidArgsFunction: volumeThenFile,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			if o.format != "raw" && o.format != "qcow2" {
				return usagef("export: --format is raw or qcow2, not %q", o.format)
			}
			return a.export(cmd.Context(), args[0], args[1], o)
		}),
	}
	cmd.Flags().StringVar(&o.at, "at", "", "number or name of a checkpoint (default: now)")
	cmd.Flags().StringVar(&o.format, "format", "raw", "format of FILE: raw or qcow2")
	completeCheckpoints(a, cmd, "at")
	return cmd
}

func volumeThenFile(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return volumeArgs(cmd, args, word)
}

func (a *app) export(ctx context.Context, dir, file string, o exportOptions) error {
	var size int64
	err := a.with(dir, toRead, func(v control.Volume) (err error) {
		st, err := v.Status(ctx)
		if err != nil {
			return err
		}
		b := a.bar("export", true)
		t, err := openTarget(file, append(ownFiles(dir), st.Data, st.Base), b)
		if err != nil {
			return err
		}
		defer t.discard()
		if o.format == "qcow2" && t.device {
			return errors.New("qcow2 goes to a file, not to a device")
		}
		err = v.Export(ctx, o.at, t)
		b.end(err)
		if err != nil {
			return err
		}
		size = t.size
		if o.format == "qcow2" {
			return t.commitAs(ctx, "qcow2")
		}
		return t.commit()
	})
	if err != nil {
		return err
	}
	made := struct {
		File   string `json:"file"`
		Format string `json:"format"`
		At     string `json:"at,omitempty"`
		Size   int64  `json:"size_bytes"`
	}{file, o.format, o.at, size}
	return a.print(made, func(w io.Writer) {
		fmt.Fprintf(w, "exported a disk of %s to %s\n", amount(size), file)
	})
}

// ownFiles are the files in a volume's directory that belong to it.
func ownFiles(dir string) []string {
	var own []string
	for _, name := range volumeFiles {
		own = append(own, filepath.Join(dir, name))
	}
	return own
}

// commitAs converts the raw content and gives the result the target's name.
func (t *target) commitAs(ctx context.Context, format string) error {
	f, temp, err := createBeside(t.path)
	if err != nil {
		return reason(err)
	}
	defer f.Close() // qemu-img writes to it by its name; syncing is what it is open for
	err = convert(ctx, t.temp, "raw", temp, format)
	if err == nil {
		err = reason(f.Sync())
	}
	if err == nil {
		err = reason(os.Rename(temp, t.path))
	}
	if err != nil {
		_ = os.Remove(temp)
		return err
	}
	return reason(syncDir(filepath.Dir(t.path)))
}
