package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/belay-vm/belay/internal/control"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

const (
	importPiece = 1 << 20 // bytes read and written at once
	zeroPiece   = 1 << 30 // bytes zeroed between two looks at whether to go on
)

func importVerb(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "import FILE VOLUME",
		Short: "Fill the disk from an image file",
		Long: `Make the disk hold what an image holds, raw or qcow2 (read by qemu-img), and zeroes behind the
image's end. Checkpoints stay as they are. The image must not be larger than the disk, and the
volume must not be in use.

When the import fails or is interrupted, the disk holds a part of the image; the way back is a
checkpoint taken before.`,
		Example: `  belay create /var/lib/belay/web --size 20G
  belay import web.raw /var/lib/belay/web
  belay import --format qcow2 web.qcow2 /var/lib/belay/web`,
		Args: operands("FILE", "VOLUME"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveFilterDirs
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			if format != "" && format != "raw" && format != "qcow2" {
				return usagef("import: --format is raw or qcow2, not %q", format)
			}
			return a.importImage(cmd.Context(), args[0], args[1], format)
		}),
	}
	cmd.Flags().StringVar(&format, "format", "", "format of FILE: raw or qcow2 (default raw)")
	return cmd
}

func (a *app) importImage(ctx context.Context, file, dir, format string) error {
	if err := notServed(dir); err != nil {
		return about(dir, err)
	}
	src, err := openSource(file, format)
	if err != nil {
		return about(file, err)
	}
	defer src.Close()
	v, err := a.stores.Open(dir, toChange)
	if err != nil {
		return about(dir, err)
	}
	if format == "qcow2" {
		err = src.unpack(ctx, dir)
	}
	if err == nil {
		b := a.bar("import", true)
		err = fill(ctx, v, src, b.set)
		b.end(err)
	}
	if closed := v.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return about(dir, err)
	}
	done := struct {
		File string `json:"file"`
		Path string `json:"path"`
		Size int64  `json:"size_bytes"`
	}{file, dir, src.size}
	return a.print(done, func(w io.Writer) {
		fmt.Fprintf(w, "imported %s from %s into %s\n", amount(src.size), file, dir)
	})
}

// source is the image that an import reads, raw.
type source struct {
	*os.File
	size int64
}

// openSource opens an image and refuses a raw one that is a qcow2 image by its first bytes,
// unless raw was asked for.
func openSource(path, format string) (*source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, reason(err)
	}
	st, err := f.Stat()
	if err == nil && st.IsDir() {
		err = errors.New("is a directory")
	}
	var size int64
	if err == nil {
		size, err = f.Seek(0, io.SeekEnd) // works on devices too
	}
	magic := make([]byte, 4)
	if err == nil && size >= int64(len(magic)) {
		_, err = f.ReadAt(magic, 0)
	}
	qcow2 := string(magic) == "QFI\xfb"
	switch {
	case err != nil:
	case qcow2 && format == "":
		err = errors.New("looks like a qcow2 image; say --format qcow2, or --format raw to import it as it is")
	case !qcow2 && format == "qcow2":
		err = errors.New("is no qcow2 image")
	case size == 0:
		err = errors.New("is empty")
	}
	if err != nil {
		_ = f.Close() // it was only read
		return nil, err
	}
	return &source{f, size}, nil
}

// unpack replaces a qcow2 source by its raw content, in a file in dir that has no name any more.
func (s *source) unpack(ctx context.Context, dir string) error {
	raw, temp, err := createBeside(dir + "/import")
	if err != nil {
		return reason(err)
	}
	err = convert(ctx, s.Name(), "qcow2", temp, "raw")
	if removed := os.Remove(temp); err == nil {
		err = removed
	}
	if err == nil {
		s.size, err = raw.Seek(0, io.SeekEnd)
	}
	if err != nil {
		_ = raw.Close() // it has no name any more
		return err
	}
	_ = s.Close() // it was only read
	s.File = raw
	return nil
}

// fill makes the volume hold the source and zeroes behind it.
func fill(ctx context.Context, v offline, src *source, p control.Progress) error {
	size := v.Size()
	if src.size > size {
		return &control.Error{Code: control.CodeInvalid, Message: fmt.Sprintf(
			"image of %d bytes does not fit on a disk of %d bytes; resize the volume first", src.size, size)}
	}
	for off := int64(0); off < src.size; {
		data, end, err := nextData(src, off)
		if err != nil {
			return reason(err)
		}
		if err := zero(ctx, v, off, alignDown(data), p); err != nil {
			return err
		}
		if off, err = copyRange(ctx, v, src, alignDown(data), end, p); err != nil {
			return err
		}
	}
	if err := zero(ctx, v, alignUp(src.size), size, p); err != nil {
		return err
	}
	return v.Sync()
}

// nextData returns the next piece of the source that is no hole, from off on. Where there is
// none, it begins and ends at the source's end.
func nextData(src *source, off int64) (start, end int64, err error) {
	start, err = src.Seek(off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return src.size, src.size, nil
	case err != nil:
		return off, src.size, nil // a device or file system that knows no holes
	}
	end, err = src.Seek(start, unix.SEEK_HOLE)
	return start, end, err
}

// copyRange copies [from, to) in pieces; pieces that are all zeroes become holes. It returns
// where it ended, which is to rounded up to a block.
func copyRange(ctx context.Context, v offline, src *source, from, to int64,
	p control.Progress) (int64, error) {
	to = min(alignUp(to), v.Size())
	buf := make([]byte, importPiece)
	for from < to {
		if err := ctx.Err(); err != nil {
			return from, control.AsError(err)
		}
		b := buf[:min(int64(len(buf)), to-from)]
		n, err := src.ReadAt(b, from)
		if err != nil && err != io.EOF {
			return from, reason(err)
		}
		clear(b[n:]) // behind the image's end
		if err := put(v, b, from); err != nil {
			return from, err
		}
		from += int64(len(b))
		p(min(from, src.size), v.Size())
	}
	return from, nil
}

// put writes p, leaving out what is zeroes anyway.
func put(v offline, p []byte, off int64) error {
	return runs(p, off, func(p []byte, off int64, blank bool) error {
		if blank {
			return v.Zero(off, int64(len(p)))
		}
		_, err := v.WriteAt(p, off)
		return err
	})
}

// zero makes [from, to) read as zeroes.
func zero(ctx context.Context, v offline, from, to int64, p control.Progress) error {
	for from < to {
		if err := ctx.Err(); err != nil {
			return control.AsError(err)
		}
		n := min(zeroPiece, to-from)
		if err := v.Zero(from, n); err != nil {
			return err
		}
		from += n
		p(from, v.Size())
	}
	return nil
}
