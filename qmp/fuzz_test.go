package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"reflect"
	"testing"
)

// sayings are lines of QEMU 7.2, and some that are wrong.
func sayings(f *testing.F) {
	f.Helper()
	for _, line := range []string{
		`{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}`,
		`{"return": {"status": "prelaunch", "singlestep": false, "running": false}, "id": 2}`,
		`{"return": [], "id": 2}`,
		`{"id": 2, "error": {"class": "CommandNotFound", "desc": "The command nope has not been found"}}`,
		`{"error": {"class": "GenericError", "desc": "JSON parse error"}}`,
		`{"timestamp": {"seconds": 1795272028, "microseconds": 160247}, "event": "RESUME"}`,
		`{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "STOP"}`,
		`{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "RESET", "data": {"guest": true}}`,
	} {
		f.Add([]byte(line))
		f.Add([]byte(line + "\r\n" + line + "\n"))
	}
	for _, c := range faults {
		f.Add([]byte(c.line))
	}
}

// What a line is taken for, it is taken for again when it is written anew.
func FuzzLine(f *testing.F) {
	sayings(f)
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := decodeLine(line)
		if err != nil {
			wantError(t, err, ErrFault)
			return
		}
		if e := m.event(); m.isReply() == (m.Event != "" || m.QMP != nil) || e.Name != m.Event {
			t.Fatalf("%q is both: %+v", line, m)
		}
		again, err := json.Marshal(rewritten(m))
		if err != nil {
			t.Fatal(err)
		}
		m2, err := decodeLine(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if !reflect.DeepEqual(rewritten(m), rewritten(m2)) {
			t.Fatalf("%s became %s", line, again)
		}
	})
}

// rewritten is a message without what it has not got.
func rewritten(m *message) map[string]any {
	all := map[string]any{}
	put := func(name string, has bool, v any) {
		if has {
			text, _ := json.Marshal(v) // compact, so that it compares
			all[name] = json.RawMessage(text)
		}
	}
	put("QMP", m.QMP != nil, m.QMP)
	put("event", m.Event != "", m.Event)
	put("data", m.Data != nil, m.Data)
	put("timestamp", m.Stamp != nil, m.Stamp)
	put("return", m.Return != nil, m.Return)
	put("error", m.Error != nil, m.Error)
	put("id", m.ID != nil, m.ID)
	return all
}

// Whatever comes in, a Link ends with a cause and nobody waits for ever.
func FuzzLink(f *testing.F) {
	sayings(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		ours, theirs := net.Pipe()
		go func() {
			line := make([]byte, 300)
			_, _ = io.WriteString(theirs, `{"QMP": {"capabilities": ["oob"]}}`+"\n")
			_, _ = theirs.Read(line)
			_, _ = io.WriteString(theirs, `{"return": {}, "id": 1}`+"\n")
			_, _ = theirs.Read(line) // query-status, id 2
			_, _ = theirs.Write(text)
			_ = theirs.Close()
		}()
		l, err := newLink(t.Context(), ours, "pipe")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var refused *CommandError
		err = l.Execute(t.Context(), "query-status", nil, nil)
		if err != nil && !errors.As(err, &refused) && !errors.Is(err, ErrFault) && !errors.Is(err, ErrGone) {
			t.Errorf("the command: %v", err)
		}
		for err = nil; err == nil; {
			_, err = l.Next(context.Background())
		}
		if !errors.Is(err, ErrFault) && !errors.Is(err, ErrGone) {
			t.Errorf("the end: %v", err)
		}
	})
}
