package preflight

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belay-vm/belay/internal/pairview"
	"github.com/belay-vm/belay/qmp"
	"github.com/belay-vm/belay/qmp/qmptest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// played is a QEMU that lacks nothing, but for what its test takes away.
type played struct {
	machine, memory, backend, memdev, status, kvm, yank, capabilities, commands string
}

func good() *played {
	return &played{
		machine: `"pc-i440fx-7.2-machine"`, memory: `{"size": 1073741824}`, backend: `"/objects/mem"`,
		memdev: `[{"id": "mem", "size": 1073741824, "share": true}]`, status: "running", kvm: "true",
		yank: `[{"type": "chardev", "id": "web"}]`, capabilities: `[{"capability": "x-colo", "state": false}]`,
		commands: `[{"name": "` + strings.Join(needed, `"}, {"name": "`) + `"}]`,
	}
}

func goodSecondary() *played {
	p := good()
	p.status, p.yank = "inmigrate", `[{"type": "migration"}, {"type": "chardev", "id": "web"}]`
	return p
}

// serve plays it on a socket.
func (p *played) serve(t *testing.T, config qmptest.Config) string {
	s := qmptest.New(t, config)
	answer := func(text string) qmptest.Handler {
		return func(qmptest.Call) (any, *qmptest.Error) {
			if text == "" {
				return nil, &qmptest.Error{Class: "GenericError", Desc: "no such thing"}
			}
			return json.RawMessage(text), nil
		}
	}
	s.Handle("qom-get", func(c qmptest.Call) (any, *qmptest.Error) {
		var args struct{ Property string }
		must(t, json.Unmarshal(c.Args, &args))
		return answer(map[string]string{"type": p.machine, "memory": p.memory,
			"memory-backend": p.backend}[args.Property])(c)
	})
	s.Handle("query-memdev", answer(p.memdev))
	s.Handle("query-status", answer(`{"status": "`+p.status+`", "running": false}`))
	s.Handle("query-kvm", answer(`{"enabled": `+p.kvm+`, "present": true}`))
	s.Handle("query-yank", answer(p.yank))
	s.Handle("query-migrate-capabilities", answer(p.capabilities))
	s.Handle("query-commands", answer(p.commands))
	return s.Path()
}

func background(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// result finds a line.
func result(t *testing.T, all []pairview.Finding, what string) pairview.Finding {
	t.Helper()
	i := slices.IndexFunc(all, func(f pairview.Finding) bool { return f.What == what })
	if i < 0 {
		t.Fatalf("nothing is said of %q: %v", what, all)
	}
	return all[i]
}

// TestQEMU takes one thing at a time away, and wants one line that says so.
func TestQEMU(t *testing.T) {
	for _, row := range []struct {
		name      string
		secondary bool
		change    func(*played)
		what      string
		result    pairview.Result
		says      string
	}{
		{name: "q35", change: func(p *played) { p.machine = `"pc-q35-7.2-machine"` },
			what: "machine", result: pairview.Missing, says: "-M pc"},
		{name: "another machine", change: func(p *played) { p.machine = `"none-machine"` },
			what: "machine", result: pairview.Missing, says: "none-machine"},
		{name: "machine not told", change: func(p *played) { p.machine = "" },
			what: "machine", result: pairview.Unknown},
		{name: "private memory",
			change: func(p *played) { p.memdev = `[{"id": "mem", "size": 1, "share": false}]` },
			what:   "memory", result: pairview.Missing, says: "share=on"},
		{name: "memory of another backend",
			change: func(p *played) { p.memdev = `[{"id": "other", "size": 1, "share": true}]` },
			what:   "memory", result: pairview.Missing, says: "memory-backend"},
		{name: "no backend", change: func(p *played) { p.backend, p.memdev = `""`, "[]" },
			what: "memory", result: pairview.Missing, says: "memory-backend"},
		{name: "backend of a NUMA node", change: func(p *played) { p.backend = `""` },
			what: "memory", result: pairview.OK, says: "1024 MiB"},
		{name: "slots", change: func(p *played) { p.memory = `{"size": 1, "max-size": 3, "slots": 2}` },
			what: "slots", result: pairview.Note, says: "2 for memory"},
		{name: "no COLO", change: func(p *played) { p.capabilities = `[{"capability": "xbzrle", "state": false}]` },
			what: "x-colo", result: pairview.Missing, says: "without COLO"},
		{name: "no yank",
			change: func(p *played) { p.commands = strings.Replace(p.commands, `"yank"`, `"honk"`, 1) },
			what:   "commands", result: pairview.Missing, says: "does not know yank"},
		{name: "TCG", change: func(p *played) { p.kvm = "false" },
			what: "accelerator", result: pairview.Note, says: "KVM"},
		{name: "primary that waits", change: func(p *played) { p.status = "inmigrate" },
			what: "state", result: pairview.Missing, says: "without -incoming"},
		{name: "secondary that runs", secondary: true, change: func(p *played) { p.status = "running" },
			what: "state", result: pairview.Missing, says: "-S -incoming"},
		{name: "incoming deferred", secondary: true, change: func(p *played) { p.yank = "[]" },
			what: "incoming", result: pairview.Missing, says: "not -incoming defer"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := good()
			if row.secondary {
				p = goodSecondary()
			}
			row.change(p)
			all := Monitor(background(t), qmp.Sockets{Link: p.serve(t, qmptest.Config{})}, row.secondary)
			f := result(t, all, row.what)
			if f.Result != row.result || !strings.Contains(f.String(), row.says) {
				t.Errorf("it says %q: %v", f.Result, f)
			}
			for _, other := range Lacks(all) {
				if other.What != row.what {
					t.Errorf("and of what is there: %v", other)
				}
			}
		})
	}
}

// TestGoodQEMU finds nothing missing on either side. -S cannot be told of this process.
func TestGoodQEMU(t *testing.T) {
	for name, p := range map[string]*played{"primary": good(), "secondary": goodSecondary()} {
		secondary := name == "secondary"
		all := Monitor(background(t), qmp.Sockets{Link: p.serve(t, qmptest.Config{})}, secondary)
		for _, f := range all {
			if f.Result != pairview.OK && f.What != "-S" {
				t.Errorf("%s: %s, %v", name, f.Result, f)
			}
		}
	}
}

// TestMonitor has sockets behind which no QEMU is, or not one that can be used.
func TestMonitor(t *testing.T) {
	silent, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	must(t, err)
	defer silent.Close()
	for _, row := range []struct {
		name, path string
		result     pairview.Result
		says       string
	}{
		{"not there", filepath.Join(t.TempDir(), "none"), pairview.Unknown, "not there yet"},
		{"no QMP", qmptest.New(t, qmptest.Config{Greeting: "hello\r\n"}).Path(), pairview.Missing, "-qmp unix:"},
		{"shared", good().serve(t, qmptest.Config{NoOOB: true}), pairview.Missing, "out-of-band"},
		{"in use", silent.Addr().String(), pairview.Missing, "one client"},
	} {
		ctx, cancel := background(t), func() {}
		if row.name == "in use" {
			ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
		}
		f := result(t, Monitor(ctx, qmp.Sockets{Link: row.path}, false), "monitor")
		cancel()
		if f.Result != row.result || !strings.Contains(f.String(), row.says) {
			t.Errorf("%s: %s, %v", row.name, f.Result, f)
		}
	}
}

// TestMonitorEnds tells of a QEMU that ends meanwhile that nothing can be told.
func TestMonitorEnds(t *testing.T) {
	s := qmptest.New(t, qmptest.Config{})
	c, err := qmp.Dial(background(t), qmp.Sockets{Link: s.Path()})
	must(t, err)
	s.Close()
	<-c.Done()
	if lacks := Lacks(QEMU(background(t), c, true)); len(lacks) > 0 {
		t.Errorf("it says %v", lacks)
	}
	if err := c.Close(); err != nil && !errors.Is(err, qmp.ErrGone) {
		t.Error(err)
	}
}
