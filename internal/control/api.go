package control

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// SocketName is the control socket's name in a volume's directory.
	SocketName = "control.sock"
	// MaxName is the longest name of a checkpoint, in bytes.
	MaxName = 255

	version     = "/v1/"
	maxBody     = 64 << 10 // bytes of a request's JSON
	maxAnswer   = 64 << 20 // bytes of an answer's JSON: 100,000 checkpoints with long names
	jsonType    = "application/json"
	linesType   = "application/jsonl"
	textType    = "text/plain; charset=utf-8"
	errorField  = "Belay-Error" // of a trailer
	piecesType  = "application/vnd.belay.pieces"
	metricsPath = "/metrics"
)

type nameBody struct {
	Name string `json:"name,omitempty"`
}

type rollbackBody struct {
	To   string `json:"to,omitempty"`
	Undo bool   `json:"undo,omitempty"`
}

type deleteBody struct {
	Checkpoint string `json:"checkpoint"`
}

type resizeBody struct {
	Size  int64 `json:"size"`
	Force bool  `json:"force,omitempty"`
}

type errorBody struct {
	Error *Error `json:"error"`
}

// decodeBody reads one JSON object into v and refuses anything it does not know, so that a
// misspelt field is an error and not a default. An empty body is an empty object.
func decodeBody(r io.Reader, v any) error {
	d := json.NewDecoder(io.LimitReader(r, maxBody))
	d.DisallowUnknownFields()
	switch err := d.Decode(v); {
	case err == io.EOF:
		return nil
	case err != nil:
		return &Error{Code: CodeInvalid, Message: "request body: " + err.Error()}
	case d.More():
		return &Error{Code: CodeInvalid, Message: "request body: more than one JSON value"}
	}
	return nil
}

// CheckName reports whether a checkpoint may bear the name: printable UTF-8, not all digits
// (that would be a number) and at most MaxName bytes. The empty name is none.
func CheckName(name string) error {
	bad := func(why string) error {
		return &Error{Code: CodeInvalid, Message: fmt.Sprintf("checkpoint name %.40q %s", name, why)}
	}
	switch {
	case name == "":
		return nil
	case len(name) > MaxName:
		return bad(fmt.Sprintf("has %d bytes; at most %d are allowed", len(name), MaxName))
	case !utf8.ValidString(name):
		return bad("is not valid UTF-8")
	case strings.IndexFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0:
		return bad("has characters that cannot be printed")
	case strings.IndexFunc(name, func(r rune) bool { return r < '0' || r > '9' }) < 0:
		return bad("is all digits; that would be a checkpoint's number")
	case strings.TrimSpace(name) != name:
		return bad("begins or ends with a space")
	}
	return nil
}

// checkSize refuses sizes that no disk can have; the store has limits of its own.
func checkSize(size int64) error {
	if size <= 0 || size%512 != 0 {
		return &Error{Code: CodeInvalid,
			Message: fmt.Sprintf("size %d is not a positive multiple of 512 bytes", size)}
	}
	return nil
}
