package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/belay-vm/belay/internal/control"
)

// convert lets qemu-img rewrite an image in another format. Formats are always named: an image
// whose first bytes a guest could choose must not decide how it is read.
func convert(ctx context.Context, from, fromFormat, to, toFormat string) error {
	tool, err := exec.LookPath("qemu-img")
	if err != nil {
		return errors.New("the program qemu-img is needed for qcow2 and is not installed")
	}
	cmd := exec.CommandContext(ctx, tool, "convert", "-f", fromFormat, "-O", toFormat, "--", from, to)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return control.AsError(ctx.Err())
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(said.String(), "qemu-img: "), "\n")
		return fmt.Errorf("qemu-img: %s (%w)", first, err)
	}
	return nil
}
