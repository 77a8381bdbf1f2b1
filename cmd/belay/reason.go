package main

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/belay-vm/belay/internal/control"
)

// reason rewrites an operating system's error for a person: the file and what is wrong with
// it, without the name of the system call.
func reason(err error) error {
	if err == nil {
		return nil
	}
	code := control.CodeFailed
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		code = control.CodeNoSpace
	case errors.Is(err, fs.ErrExist):
		code = control.CodeExists
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return control.Wrap(code, fmt.Errorf("%s: %w", path.Path, path.Err))
	}
	return control.Wrap(code, err)
}
