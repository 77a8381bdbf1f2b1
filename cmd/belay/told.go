package main

import (
	"context"
	"errors"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/internal/bio"
	"github.com/belay-vm/belay/internal/control"
)

// codes are the store's errors as the control interface tells them.
var codes = []struct {
	err  error
	code control.Code
}{
	{checkpoint.ErrPoisoned, control.CodePoisoned}, // first: it wraps what made it
	{checkpoint.ErrVersion, control.CodeVersion},
	{checkpoint.ErrNotVolume, control.CodeNotVolume},
	{checkpoint.ErrCorrupt, control.CodeCorrupt},
	{checkpoint.ErrLocked, control.CodeInUse},
	{checkpoint.ErrNoPoint, control.CodeNoPoint},
	{checkpoint.ErrExists, control.CodeExists},
	{checkpoint.ErrUnretired, control.CodeUnretired},
	{checkpoint.ErrShrink, control.CodeShrink},
	{checkpoint.ErrNoSpace, control.CodeNoSpace},
	{checkpoint.ErrBase, control.CodeBase},
	{bio.ErrReadOnly, control.CodeReadOnly},
	{bio.ErrRange, control.CodeInvalid},
}

// told turns a store's error into one for people and machines; nil stays nil.
func told(err error) error {
	if err == nil {
		return nil
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return control.Wrap(c.code, err)
		}
	}
	var known *control.Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return control.AsError(err)
	}
	return reason(err)
}
