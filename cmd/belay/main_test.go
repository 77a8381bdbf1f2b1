package main

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the golden parts of testdata/script")

// TestMain lets the scripts run this test binary as the program.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"activate":    func() { helper(activate) },
		"belay":       func() { os.Exit(belay()) },
		backendVerb:   func() { os.Exit(belay()) },
		"flip":        func() { helper(flip) },
		"front-end":   func() { helper(frontEnd) },
		"head-of":     func() { helper(headOf) },
		"monitor":     func() { helper(monitor) },
		"notified":    func() { helper(notified) },
		"plug":        func() { helper(plug) },
		"poke":        func() { helper(poke) },
		"scrape":      func() { helper(scrape) },
		"terminate":   func() { helper(terminate) },
		"wait-file":   func() { helper(waitFile) },
		"wait-socket": func() { helper(waitSocket) },
	})
}

func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("scripts start processes: left out with -short")
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			e.Setenv("LONG", strings.Repeat("d", 120))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "loop":
				return os.Geteuid() == 0 && exec.Command("losetup", "-f").Run() == nil, nil
			}
			return false, errors.New("unknown condition")
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit": exitCode,
		},
	})
}

func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"plain":             "plain",
		"two\nlines":        "two; lines",
		"\n\ncrlf\r\nend\n": "crlf; end",
		"a\tb\x1b[31mc":     "a b?[31mc",
	} {
		if got := oneLine(errors.New(text)); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestProgramArgs(t *testing.T) {
	for name, want := range map[string]int{
		"belay": 1, "/usr/bin/belay": 1, "/usr/libexec/vhost-user-blk": 2, "belay-vhost-user-blk": 2,
	} {
		if got := programArgs([]string{name, "--x"}); len(got) != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
