package control

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// An exported disk travels as pieces. Each begins with 16 bytes, little-endian:
//
//	0  u64  offset in the disk, in bytes (begin: the disk's size)
//	8  u32  length of what follows, in bytes
//	12 u32  kind: 1 begin, 2 data, 3 end, 4 error
//
// Begin comes first and end last; where an error comes instead of the end, what follows it is
// the JSON of an Error. What lies between two data pieces is zeroes.
const (
	pieceHead  = 16
	pieceBegin = 1
	pieceData  = 2
	pieceEnd   = 3
	pieceError = 4

	maxPiece = 4 << 20 // bytes of a piece
)

// progressEvery bounds how often a caller hears of progress.
const progressEvery = 100 * time.Millisecond

type progressBody struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
}

// event is one line of a long operation's answer; exactly one field is set.
type event struct {
	Progress *progressBody   `json:"progress,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    *Error          `json:"error,omitempty"`
}

// check streams the progress and then the outcome of a check.
func (s *Server) check(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", linesType)
	lines := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	var last time.Time
	report, err := s.vol.Check(r.Context(), func(done, total int64) {
		if now := time.Now(); now.Sub(last) >= progressEvery {
			last = now
			// A caller that has gone away cancels the context; the check ends by that.
			_ = lines.Encode(event{Progress: &progressBody{done, total}})
			_ = flush.Flush()
		}
	})
	if err != nil {
		e := AsError(err)
		s.log.Warn("check failed", "code", e.Code, "error", e.Message)
		_ = lines.Encode(event{Error: e})
		return
	}
	result, err := json.Marshal(report)
	if err != nil {
		_ = lines.Encode(event{Error: AsError(err)})
		return
	}
	_ = lines.Encode(event{Result: result})
}

// export streams the content of a checkpoint as pieces.
func (s *Server) export(w http.ResponseWriter, r *http.Request) {
	p := &pieceWriter{w: w}
	err := s.vol.Export(r.Context(), r.URL.Query().Get("at"), p)
	switch {
	case err == nil:
		err = p.piece(pieceEnd, 0, nil)
	case !p.begun:
		s.fail(w, r, err)
		return
	default:
		s.log.Warn("export failed", "error", err)
		body, _ := json.Marshal(AsError(err)) // two strings always marshal
		err = p.piece(pieceError, 0, body)
	}
	if err != nil {
		s.log.Debug("export was cut off", "error", err)
	}
}

// dump prints the metadata. What fails behind the first byte is told in a trailer.
func (s *Server) dump(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", errorField)
	w.Header().Set("Content-Type", textType)
	t := &begun{w: w}
	err := s.vol.Dump(r.Context(), t, r.URL.Query().Get("json") == "true")
	switch {
	case err == nil:
	case !t.yes:
		w.Header().Del("Trailer")
		s.fail(w, r, err)
	default:
		s.log.Warn("dump failed", "error", err)
		body, _ := json.Marshal(AsError(err)) // two strings always marshal
		w.Header().Set(errorField, string(body))
	}
}

// begun notes whether anything was written.
type begun struct {
	w   io.Writer
	yes bool
}

func (b *begun) Write(p []byte) (int, error) {
	b.yes = true
	return b.w.Write(p)
}

// pieceWriter is the Sink that sends pieces.
type pieceWriter struct {
	w     http.ResponseWriter
	begun bool
}

func (p *pieceWriter) Begin(size int64) error {
	p.w.Header().Set("Content-Type", piecesType)
	p.begun = true
	return p.piece(pieceBegin, size, nil)
}

func (p *pieceWriter) Data(b []byte, off int64) error {
	for len(b) > 0 {
		n := min(len(b), maxPiece)
		if err := p.piece(pieceData, off, b[:n]); err != nil {
			return err
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

func (p *pieceWriter) piece(kind uint32, off int64, b []byte) error {
	var head [pieceHead]byte
	binary.LittleEndian.PutUint64(head[0:], uint64(off))
	binary.LittleEndian.PutUint32(head[8:], uint32(len(b)))
	binary.LittleEndian.PutUint32(head[12:], kind)
	if _, err := p.w.Write(head[:]); err != nil {
		return err
	}
	_, err := p.w.Write(b)
	return err
}

var errCutOff = errors.New("the serving process ended before the answer was complete")

// readPieces hands a stream of pieces to the sink and returns when its end was seen.
func readPieces(r io.Reader, to Sink) error {
	var head [pieceHead]byte
	var buf []byte
	size, end := int64(-1), int64(0) // end: of the last data piece
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return Wrap(CodeUnreachable, errCutOff)
		}
		off := int64(binary.LittleEndian.Uint64(head[0:]))
		n := binary.LittleEndian.Uint32(head[8:])
		kind := binary.LittleEndian.Uint32(head[12:])
		if n > maxPiece {
			return fmt.Errorf("piece of %d bytes in the answer; at most %d are allowed", n, maxPiece)
		}
		if uint32(cap(buf)) < n {
			buf = make([]byte, n)
		}
		buf = buf[:n]
		if _, err := io.ReadFull(r, buf); err != nil {
			return Wrap(CodeUnreachable, errCutOff)
		}
		switch {
		case kind == pieceBegin && size < 0 && off >= 0 && n == 0:
			size = off
			if err := to.Begin(size); err != nil {
				return err
			}
		case kind == pieceData && off >= end && off <= size-int64(n):
			end = off + int64(n)
			if err := to.Data(buf, off); err != nil {
				return err
			}
		case kind == pieceEnd && size >= 0:
			return nil
		case kind == pieceError:
			return decodeError(buf)
		default:
			return fmt.Errorf("piece of kind %d at %d in the answer makes no sense there", kind, off)
		}
	}
}
