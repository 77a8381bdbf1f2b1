package qmptest

import (
	"encoding/json"
	"slices"
	"sync"
)

// machine is the little of a machine that the fake's own commands are about. A test replaces
// any of them with Handle.
type machine struct {
	server *Server

	mu           sync.Mutex
	running      bool
	capabilities map[string]bool
	instances    []any // of yank
}

// newMachine gives the server the commands of a machine that waits for its start (-S).
func newMachine(s *Server) {
	m := &machine{server: s, capabilities: map[string]bool{"x-colo": false, "events": false},
		instances: []any{map[string]string{"type": "chardev", "id": "disk"}}}
	s.handlers = map[string]Handler{
		"query-status": m.status,
		"stop":         func(Call) (any, *Error) { return m.run(false, "STOP") },
		"cont":         func(Call) (any, *Error) { return m.run(true, "RESUME") },
		"quit":         m.quit,
		"yank":         m.yank,
		"query-yank":   func(Call) (any, *Error) { return m.instances, nil },
		"query-version": func(Call) (any, *Error) {
			return json.RawMessage(`{"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "qmptest"}`), nil
		},
		"query-commands":             m.commands,
		"query-migrate":              func(Call) (any, *Error) { return nil, nil },
		"query-migrate-capabilities": m.listCapabilities,
		"migrate-set-capabilities":   m.setCapabilities,
		"migrate-set-parameters":     func(Call) (any, *Error) { return nil, nil },
		"migrate":                    func(Call) (any, *Error) { return nil, nil },
		"x-colo-lost-heartbeat":      func(Call) (any, *Error) { return nil, nil },
		"query-colo-status": func(Call) (any, *Error) {
			return map[string]string{"mode": "none", "last-mode": "none", "reason": "none"}, nil
		},
		"system_powerdown": m.powerdown,
	}
	s.oob = map[string]bool{"yank": true}
}

func (m *machine) status(Call) (any, *Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := "paused"
	if m.running {
		name = "running"
	}
	return map[string]any{"status": name, "singlestep": false, "running": m.running}, nil
}

// run raises the event before the answer, as QEMU does, and only if something changes.
func (m *machine) run(running bool, event string) (any, *Error) {
	m.mu.Lock()
	changed := m.running != running
	m.running = running
	m.mu.Unlock()
	if changed {
		m.server.Event(event, nil)
	}
	return nil, nil
}

func (m *machine) powerdown(Call) (any, *Error) {
	m.server.Event("POWERDOWN", nil)
	return nil, nil
}

// quit answers and hangs up. The test closes the server, whose socket goes with it.
func (m *machine) quit(call Call) (any, *Error) {
	m.server.Event("SHUTDOWN", map[string]any{"guest": false, "reason": "host-qmp-quit"})
	c := m.server.current()
	if c == nil {
		return Silence, nil
	}
	c.send(answer{Return: struct{}{}, ID: call.ID})
	_ = c.conn.Close()
	return Silence, nil
}

func (m *machine) yank(call Call) (any, *Error) {
	var args struct {
		Instances []map[string]string `json:"instances"`
	}
	if err := json.Unmarshal(call.Args, &args); err != nil {
		return nil, generic("Parameter 'instances' is missing")
	}
	for _, i := range args.Instances {
		if i["type"] == "migration" {
			return nil, &Error{"DeviceNotFound", "Instance not found"}
		}
	}
	return nil, nil
}

func (m *machine) commands(Call) (any, *Error) {
	m.server.mu.Lock()
	defer m.server.mu.Unlock()
	var list []map[string]string
	for name := range m.server.handlers {
		list = append(list, map[string]string{"name": name})
	}
	slices.SortFunc(list, func(a, b map[string]string) int {
		if a["name"] < b["name"] {
			return -1
		}
		return 1
	})
	return list, nil
}

type capability struct {
	Capability string `json:"capability"`
	State      bool   `json:"state"`
}

func (m *machine) listCapabilities(Call) (any, *Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return []capability{{"events", m.capabilities["events"]}, {"x-colo", m.capabilities["x-colo"]}}, nil
}

func (m *machine) setCapabilities(call Call) (any, *Error) {
	var args struct {
		Capabilities []capability `json:"capabilities"`
	}
	if err := json.Unmarshal(call.Args, &args); err != nil {
		return nil, generic("Parameter 'capabilities' is missing")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range args.Capabilities {
		if _, known := m.capabilities[c.Capability]; !known {
			return nil, generic("Parameter 'capability' does not accept value '%s'", c.Capability)
		}
		m.capabilities[c.Capability] = c.State
	}
	return nil, nil
}
