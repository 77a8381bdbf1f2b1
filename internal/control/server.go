package control

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	headerTimeout = 10 * time.Second // for a caller to say what it wants
	idleTimeout   = 2 * time.Minute  // between two requests on one connection
	closeTimeout  = 3 * time.Second  // for answers under way when the server ends
)

// Server answers requests about one volume.
type Server struct {
	vol  Volume
	log  hclog.Logger
	http http.Server

	// cancel ends the requests under way; their context is derived from the one it belongs to.
	cancel context.CancelFunc
}

// NewServer returns a server of vol. What metrics gathers is shown under /metrics.
func NewServer(vol Volume, metrics prometheus.Gatherer, log hclog.Logger) *Server {
	s := &Server{vol: vol, log: log}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.http = http.Server{
		Handler:           s.routes(metrics),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxBody,
		ErrorLog:          log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	return s
}

// Serve answers until Close; it returns nil then, and why it ended otherwise.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close ends the requests under way, gives their answers a moment to leave, and closes the
// listener.
func (s *Server) Close() error {
	s.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

func (s *Server) routes(metrics prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	handle(s, mux, "GET", "status", func(ctx context.Context, _ struct{}) (Status, error) {
		return s.vol.Status(ctx)
	})
	handle(s, mux, "GET", "checkpoints", func(ctx context.Context, _ struct{}) (History, error) {
		return s.vol.History(ctx)
	})
	if v, ok := s.vol.(Loaded); ok {
		handle(s, mux, "GET", "load", func(ctx context.Context, _ struct{}) (Load, error) {
			return v.Load(ctx)
		})
	}
	handle(s, mux, "POST", "start", named(s.vol.Start))
	handle(s, mux, "POST", "checkpoint", named(s.vol.Checkpoint))
	handle(s, mux, "POST", "retire", func(ctx context.Context, _ struct{}) (Point, error) {
		return s.vol.Retire(ctx)
	})
	handle(s, mux, "POST", "rollback", s.rollback)
	handle(s, mux, "POST", "delete", s.delete)
	handle(s, mux, "POST", "resize", s.resize)
	handle(s, mux, "POST", "failover", s.failover)
	handle(s, mux, "POST", "reprotect", s.reprotect)
	handle(s, mux, "POST", "verify-pair", s.verifyPair)
	mux.HandleFunc("POST "+version+"check", s.check)
	mux.HandleFunc("GET "+version+"export", s.export)
	mux.HandleFunc("GET "+version+"dump", s.dump)
	mux.Handle("GET "+metricsPath, promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError,
		ErrorLog:      s.log.StandardLogger(nil)}))
	mux.HandleFunc("/", s.unknown)
	return mux
}

// handle registers a request whose body is an In and whose answer is an Out, both JSON.
func handle[In, Out any](s *Server, mux *http.ServeMux, method, name string,
	serve func(context.Context, In) (Out, error)) {
	mux.HandleFunc(method+" "+version+name, func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := decodeBody(r.Body, &in); err != nil {
			s.fail(w, r, err)
			return
		}
		out, err := serve(r.Context(), in)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.log.Debug("control request", "method", method, "request", name)
		s.answer(w, http.StatusOK, out)
	})
}

// named adapts a verb that takes a checkpoint's new name.
func named(verb func(context.Context, string) (Point, error)) func(context.Context, nameBody) (Point, error) {
	return func(ctx context.Context, in nameBody) (Point, error) {
		if err := CheckName(in.Name); err != nil {
			return Point{}, err
		}
		return verb(ctx, in.Name)
	}
}

func (s *Server) rollback(ctx context.Context, in rollbackBody) (Rollback, error) {
	switch {
	case in.Undo && in.To != "":
		return Rollback{}, &Error{Code: CodeInvalid, Message: `"to" and "undo" exclude each other`}
	case in.Undo:
		return s.vol.Undo(ctx)
	case in.To == "":
		return Rollback{}, &Error{Code: CodeInvalid, Message: `one of "to" and "undo" is needed`}
	}
	return s.vol.Rollback(ctx, in.To)
}

func (s *Server) delete(ctx context.Context, in deleteBody) (Point, error) {
	if in.Checkpoint == "" {
		return Point{}, &Error{Code: CodeInvalid, Message: `"checkpoint" is needed`}
	}
	return s.vol.Delete(ctx, in.Checkpoint)
}

func (s *Server) resize(ctx context.Context, in resizeBody) (Resized, error) {
	if err := checkSize(in.Size); err != nil {
		return Resized{}, err
	}
	return s.vol.Resize(ctx, in.Size, in.Force)
}

func (s *Server) unknown(w http.ResponseWriter, r *http.Request) {
	what := r.Method + " " + r.URL.Path
	if !strings.HasPrefix(r.URL.Path, version) {
		what += " (this server speaks " + version + ")"
	}
	s.fail(w, r, &Error{Code: CodeNotFound, Message: "unknown request " + what})
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := AsError(err)
	s.log.Warn("control request failed", "request", r.URL.Path, "code", e.Code, "error", e.Message)
	s.answer(w, e.status(), errorBody{Error: e})
}

func (s *Server) answer(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":{"code":"failed","message":"answer"}}`)
		s.log.Error("control answer cannot be written as JSON", "error", err)
	}
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	// A caller that has gone away hears nothing; there is nobody to tell.
	_, _ = w.Write(append(body, '\n'))
}
