package control

import (
	"context"
	"errors"
	"net/http"
)

// Code says to a machine why something failed. The words are part of the interface.
type Code string

// The codes of version 1.
const (
	CodeInvalid     Code = "invalid"       // a name, size or request that can never be right
	CodeNotVolume   Code = "not_volume"    // nothing there, or something that is no volume
	CodeVersion     Code = "version"       // a volume of a newer format
	CodeCorrupt     Code = "corrupt"       // damage was found
	CodeInUse       Code = "in_use"        // another process or a front end uses the volume
	CodeNoPoint     Code = "no_checkpoint" // no such checkpoint
	CodeExists      Code = "exists"        // the name or the place is taken
	CodeUnretired   Code = "unretired"     // too many started points wait for their retirement
	CodePoisoned    Code = "poisoned"      // an earlier sync failed
	CodeShrink      Code = "shrink"        // would lose data and was not forced
	CodeNoSpace     Code = "no_space"      // the disk is full
	CodeBase        Code = "base"          // the base image is missing or not what it was
	CodeReadOnly    Code = "read_only"     // the volume is served read-only
	CodeInterrupted Code = "interrupted"   // the caller gave up
	CodeUnreachable Code = "unreachable"   // the serving process does not answer
	CodeNotFound    Code = "unknown_path"  // no such path or method in this version
	CodeFailed      Code = "failed"        // anything else; the message says what
)

// Error is a failure as it is told: the same whether it happened here or in the serving
// process.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`

	cause error // kept on the side where it happened, for errors.Is
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.cause }

// Wrap tells err under the given code.
func Wrap(code Code, err error) *Error {
	return &Error{Code: code, Message: err.Error(), cause: err}
}

// AsError returns err as an *Error: itself where it is one, otherwise under the code that
// fits what it wraps.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		// The outer text says more than the inner where something wrapped it on the way.
		return &Error{Code: e.Code, Message: err.Error(), cause: err}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &Error{Code: CodeInterrupted, Message: "interrupted", cause: err}
	}
	return Wrap(CodeFailed, err)
}

// CodeOf returns the code of err, CodeFailed where it carries none, and none for no error.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return AsError(err).Code
}

var httpStatus = map[Code]int{
	CodeInvalid:     http.StatusBadRequest,
	CodeShrink:      http.StatusBadRequest,
	CodeNoPoint:     http.StatusNotFound,
	CodeNotFound:    http.StatusNotFound,
	CodeExists:      http.StatusConflict,
	CodeInUse:       http.StatusConflict,
	CodeUnretired:   http.StatusConflict,
	CodeReadOnly:    http.StatusForbidden,
	CodeNoSpace:     http.StatusInsufficientStorage,
	CodeUnreachable: http.StatusServiceUnavailable,
}

// status is the HTTP status under which an error travels.
func (e *Error) status() int {
	if s, ok := httpStatus[e.Code]; ok {
		return s
	}
	return http.StatusInternalServerError
}
