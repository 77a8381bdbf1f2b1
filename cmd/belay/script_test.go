package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/belay-vm/belay/internal/control"
	"github.com/rogpeppe/go-internal/testscript"
)

// exitCode is the script command
//
//	exit CODE PROGRAM [ARGUMENTS...]
//
// It runs a program, demands its exit code, and, when that is not 0, demands that stderr is one
// line that begins with "belay: ".
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE PROGRAM [ARGUMENTS...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		got = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code is %d, want %d", got, want)
	}
	if stderr := ts.ReadFile("stderr"); want != 0 &&
		(!strings.HasPrefix(stderr, "belay: ") || strings.Count(stderr, "\n") != 1) {
		ts.Fatalf("stderr is not one line of ours: %q", stderr)
	}
}

// helper runs a program of the scripts on its arguments.
func helper(program func(args []string) error) {
	if err := program(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
	os.Exit(0)
}

// patience bounds every wait in a script; it is never reached where all is well.
const patience = time.Minute

func await(what string, there func() bool) error {
	limit := time.After(patience)
	for look := time.Tick(2 * time.Millisecond); !there(); {
		select {
		case <-look:
		case <-limit:
			return fmt.Errorf("%s did not come in %v", what, patience)
		}
	}
	return nil
}

// wait-socket PATH... returns when every socket is alive.
func waitSocket(paths []string) error {
	for _, path := range paths {
		err := await(path, func() bool {
			alive, err := control.Alive(path)
			return alive && err == nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// wait-file PATH returns when the file is there.
func waitFile(args []string) error {
	return await(args[0], func() bool {
		_, err := os.Stat(args[0])
		return err == nil
	})
}

// head-of SHORT LONG demands that the file LONG begins with the content of SHORT, without its
// final newline.
func headOf(args []string) error {
	short, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	long, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	if short = bytes.TrimSuffix(short, []byte("\n")); !bytes.HasPrefix(long, short) {
		return fmt.Errorf("%s begins with %q, not with %q", args[1], long[:min(len(long), len(short))], short)
	}
	return nil
}

// poke FILE OFFSET HEX overwrites bytes of a file.
func poke(args []string) error {
	f, err := os.OpenFile(args[0], os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	off, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	p, err := hex.DecodeString(args[2])
	if err != nil {
		return err
	}
	_, err = f.WriteAt(p, off)
	return errors.Join(err, f.Close())
}

// flip FILE inverts the last byte that is not zero in each block of a file.
func flip(args []string) error {
	content, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	for off := 0; off < len(content); off += blockSize {
		for i := min(off+blockSize, len(content)) - 1; i >= off; i-- {
			if content[i] != 0 {
				content[i] ^= 0xff
				break
			}
		}
	}
	return os.WriteFile(args[0], content, 0o600)
}

// scrape VOLUME PATH prints what the volume's control socket answers.
func scrape(args []string) error {
	c := http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial("unix", filepath.Join(args[0], control.SocketName))
		}}}
	answer, err := c.Get("http://belay" + args[1])
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}

// terminate VOLUME sends SIGTERM to the process that serves the volume.
func terminate(args []string) error {
	c, err := control.Dial(args[0])
	if err != nil {
		return err
	}
	st, err := c.Status(context.Background())
	if err != nil {
		return err
	}
	return syscall.Kill(st.Server.PID, syscall.SIGTERM)
}
