package qmptest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

type command struct {
	Execute string          `json:"execute"`
	OOB     string          `json:"exec-oob"`
	Args    json.RawMessage `json:"arguments"`
	ID      json.RawMessage `json:"id"`
}

type answer struct {
	Return any             `json:"return,omitempty"`
	Error  *Error          `json:"error,omitempty"`
	ID     json.RawMessage `json:"id,omitempty"`
}

// generic is a refusal in the class of most.
func generic(format string, args ...any) *Error {
	return &Error{"GenericError", fmt.Sprintf(format, args...)}
}

// receive takes a command as QEMU's monitor thread does.
func (s *Server) receive(c *client, text []byte) {
	var cmd command
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&cmd); err != nil {
		c.send(answer{Error: generic("QMP input: %v", err)})
		return
	}
	call := Call{Command: cmd.Execute + cmd.OOB, Args: cmd.Args, OOB: cmd.OOB != "", ID: cmd.ID, Done: c.done}
	if call.Command != "qmp_capabilities" {
		select {
		case s.calls <- call:
		default: // nobody looks at them
		}
	}
	if refused := s.admit(c, call); refused != nil {
		c.send(answer{Error: refused, ID: call.ID})
		return
	}
	switch {
	case call.Command == "qmp_capabilities":
		s.negotiate(c, call)
	case call.OOB:
		s.execute(c, call)
	default:
		c.inBand <- call
	}
}

// admit says why a command is not executed at all.
func (s *Server) admit(c *client, call Call) *Error {
	s.mu.Lock()
	_, known := s.handlers[call.Command]
	oob := s.oob[call.Command]
	s.mu.Unlock()
	capabilities := call.Command == "qmp_capabilities"
	switch {
	case capabilities == c.ready():
		return &Error{"CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities', once"}
	case !known && !capabilities:
		return &Error{"CommandNotFound", fmt.Sprintf("The command %s has not been found", call.Command)}
	case call.OOB && !c.oob:
		return generic("QMP input member 'exec-oob' is unexpected")
	case call.OOB && !oob:
		return generic("The command %s does not support OOB", call.Command)
	}
	return nil
}

func (s *Server) negotiate(c *client, call Call) {
	var args struct {
		Enable []string `json:"enable"`
	}
	if call.Args != nil && json.Unmarshal(call.Args, &args) != nil {
		c.send(answer{Error: generic("Invalid parameter"), ID: call.ID})
		return
	}
	c.mu.Lock()
	c.oob = slices.Contains(args.Enable, "oob")
	c.mu.Unlock()
	if c.oob && s.config.NoOOB {
		c.send(answer{Error: generic("Capability oob is not available"), ID: call.ID})
		return
	}
	c.agree(answer{Return: struct{}{}, ID: call.ID})
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.arrived)
}

// mainLoop executes ordinary commands, one after the other.
func (s *Server) mainLoop(c *client) {
	for {
		select {
		case call := <-c.inBand:
			s.execute(c, call)
		case <-c.done:
			return
		}
	}
}

func (s *Server) execute(c *client, call Call) {
	s.mu.Lock()
	h := s.handlers[call.Command]
	s.mu.Unlock()
	result, refused := h(call)
	switch {
	case result == any(Silence):
	case refused != nil:
		c.send(answer{Error: refused, ID: call.ID})
	case result == nil:
		c.send(answer{Return: struct{}{}, ID: call.ID})
	default:
		c.send(answer{Return: result, ID: call.ID})
	}
}
