package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"syscall"
)

// ErrNotServed is returned by Dial where no process serves the volume.
var ErrNotServed = errors.New("no process serves this volume")

// Client reaches a volume that another process serves.
type Client struct {
	path string // of the control socket
	http http.Client
}

// Dial returns a client of the volume in directory dir, or ErrNotServed.
func Dial(dir string) (*Client, error) {
	c := &Client{path: filepath.Join(dir, SocketName)}
	probe, err := dialUnix(context.Background(), c.path)
	switch {
	case err == nil:
		_ = probe.Close() // nothing was sent on it
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNotServed
	default:
		return nil, Wrap(CodeUnreachable, fmt.Errorf("%s: %w", SocketName, err))
	}
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialUnix(ctx, c.path)
		},
		DisableCompression: true,
	}
	return c, nil
}

var _ Volume = (*Client)(nil)

func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

func (c *Client) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, "GET", "status", nil)
}

func (c *Client) History(ctx context.Context) (History, error) {
	return ask[History](ctx, c, "GET", "checkpoints", nil)
}

func (c *Client) Start(ctx context.Context, name string) (Point, error) {
	return ask[Point](ctx, c, "POST", "start", nameBody{name})
}

func (c *Client) Retire(ctx context.Context) (Point, error) {
	return ask[Point](ctx, c, "POST", "retire", nil)
}

func (c *Client) Checkpoint(ctx context.Context, name string) (Point, error) {
	return ask[Point](ctx, c, "POST", "checkpoint", nameBody{name})
}

func (c *Client) Delete(ctx context.Context, checkpoint string) (Point, error) {
	return ask[Point](ctx, c, "POST", "delete", deleteBody{checkpoint})
}

func (c *Client) Rollback(ctx context.Context, to string) (Rollback, error) {
	return ask[Rollback](ctx, c, "POST", "rollback", rollbackBody{To: to})
}

func (c *Client) Undo(ctx context.Context) (Rollback, error) {
	return ask[Rollback](ctx, c, "POST", "rollback", rollbackBody{Undo: true})
}

func (c *Client) Resize(ctx context.Context, size int64, force bool) (Resized, error) {
	return ask[Resized](ctx, c, "POST", "resize", resizeBody{size, force})
}

func (c *Client) Check(ctx context.Context, p Progress) (Report, error) {
	answer, err := c.send(ctx, "POST", "check", nil)
	if err != nil {
		return Report{}, err
	}
	defer answer.Close()
	lines := json.NewDecoder(answer)
	for {
		var e event
		switch err := lines.Decode(&e); {
		case ctx.Err() != nil:
			return Report{}, AsError(ctx.Err())
		case err != nil:
			return Report{}, Wrap(CodeUnreachable, errCutOff)
		case e.Error != nil:
			return Report{}, e.Error
		case e.Result != nil:
			var r Report
			if err := json.Unmarshal(e.Result, &r); err != nil {
				return Report{}, AsError(fmt.Errorf("answer: %w", err))
			}
			return r, nil
		case e.Progress != nil && p != nil:
			p(e.Progress.Done, e.Progress.Total)
		}
	}
}

func (c *Client) Export(ctx context.Context, at string, to Sink) error {
	answer, err := c.send(ctx, "GET", "export?at="+url.QueryEscape(at), nil)
	if err != nil {
		return err
	}
	defer answer.Close()
	err = readPieces(answer, to)
	if err != nil && ctx.Err() != nil {
		return AsError(ctx.Err())
	}
	return err
}

func (c *Client) Dump(ctx context.Context, w io.Writer, asJSON bool) error {
	answer, err := c.request(ctx, "GET", "dump?json="+strconv.FormatBool(asJSON), nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	from := &watched{r: answer.Body}
	_, err = io.Copy(w, from)
	switch failed := answer.Trailer.Get(errorField); {
	case ctx.Err() != nil:
		return AsError(ctx.Err())
	case from.err != nil:
		return Wrap(CodeUnreachable, errCutOff)
	case err != nil:
		return AsError(err)
	case failed != "":
		return decodeError([]byte(failed))
	}
	return nil
}

// watched tells a failed read from a failed write behind it.
type watched struct {
	r   io.Reader
	err error
}

func (c *watched) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != io.EOF {
		c.err = err
	}
	return n, err
}

// ask sends one request and decodes its one answer.
func ask[Out any](ctx context.Context, c *Client, method, path string, in any) (Out, error) {
	var out Out
	answer, err := c.send(ctx, method, path, in)
	if err != nil {
		return out, err
	}
	defer answer.Close()
	if err := json.NewDecoder(io.LimitReader(answer, maxAnswer)).Decode(&out); err != nil {
		return out, Wrap(CodeUnreachable, errCutOff)
	}
	return out, nil
}

// send sends one request and returns the body of its answer.
func (c *Client) send(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	answer, err := c.request(ctx, method, path, in)
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

// request sends one request; a failure told by the server is returned as the *Error it was there.
func (c *Client) request(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, AsError(err)
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://belay"+version+path, body)
	if err != nil {
		return nil, AsError(err)
	}
	r.Header.Set("Content-Type", jsonType)
	answer, err := c.http.Do(r)
	switch {
	case ctx.Err() != nil:
		if err == nil {
			_ = answer.Body.Close() // nothing is read from it any more
		}
		return nil, AsError(ctx.Err())
	case err != nil:
		var where *url.Error
		if errors.As(err, &where) {
			err = where.Err // the URL is ours and says nothing to a person
		}
		return nil, Wrap(CodeUnreachable, fmt.Errorf("control socket %s: %w", c.path, err))
	case answer.StatusCode != http.StatusOK:
		defer answer.Body.Close()
		b, _ := io.ReadAll(io.LimitReader(answer.Body, maxBody)) // judged by its content
		return nil, decodeErrorBody(b, answer.Status)
	}
	return answer, nil
}

func decodeErrorBody(b []byte, status string) error {
	var body errorBody
	if err := json.Unmarshal(b, &body); err != nil || body.Error == nil || body.Error.Message == "" {
		return &Error{Code: CodeFailed, Message: "control socket answered " + status + " without saying why"}
	}
	return body.Error
}

func decodeError(b []byte) error {
	var e Error
	if err := json.Unmarshal(b, &e); err != nil || e.Message == "" {
		return &Error{Code: CodeFailed, Message: "the serving process reported an error it did not name"}
	}
	return &e
}
