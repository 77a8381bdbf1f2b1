package pair

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/belay-vm/belay/qmp"
	"github.com/belay-vm/belay/qmp/qmptest"
)

// wires plays what a QEMU knows of byte streams and objects, and refuses what QEMU refuses.
type wires struct {
	mu      sync.Mutex
	streams map[string]bool   // by id: connected
	objects map[string]string // by id: the streams and objects that it uses
	chain   []string          // of filters, head first
	nobody  func()            // not nil: no other host is there; called when it is looked for
}

func newWires(t *testing.T) (*wires, *qmp.Client) {
	t.Helper()
	w := &wires{streams: map[string]bool{"disk": true}, objects: map[string]string{"mem": ""}}
	s := qmptest.New(t, qmptest.Config{})
	for name, do := range map[string]func(args map[string]any) (any, string){
		"chardev-add": w.addStream, "chardev-remove": w.removeStream, "query-chardev": w.listStreams,
		"object-add": w.addObject, "object-del": w.removeObject, "qom-list": w.listObjects,
		"yank": w.yank,
	} {
		s.Handle(name, func(call qmptest.Call) (any, *qmptest.Error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			var args map[string]any
			_ = json.Unmarshal(call.Args, &args) // there may be none
			result, refusal := do(args)
			if refusal != "" {
				return nil, &qmptest.Error{Class: qmp.ClassGeneric, Desc: refusal}
			}
			return result, nil
		})
	}
	c, err := qmp.Dial(t.Context(), qmp.Sockets{Link: s.Path()})
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return w, c
}

func (w *wires) addStream(args map[string]any) (any, string) {
	id := args["id"].(string)
	if _, ok := w.streams[id]; ok {
		return nil, "it is there"
	}
	data := args["backend"].(map[string]any)["data"].(map[string]any)
	if data["server"] == true && data["wait"] != false {
		return nil, "QEMU would wait for a client"
	}
	server, isSocket := data["server"].(bool)
	within := strings.Contains(string(mustJSON(data)), "/run/q")
	w.streams[id] = !isSocket || !server && (within || w.nobody == nil)
	if within && !server { // it is its own client
		w.streams[map[string]string{"belay-n-back": "belay-n-front", "belay-n-out": "belay-n-in"}[id]] = true
	}
	return nil, ""
}

func mustJSON(v any) []byte {
	text, _ := json.Marshal(v) // it was JSON before
	return text
}

func (w *wires) removeStream(args map[string]any) (any, string) {
	id := args["id"].(string)
	for object, uses := range w.objects {
		if slices.Contains(strings.Fields(uses), id) {
			return nil, "it is used by " + object
		}
	}
	delete(w.streams, id)
	return nil, ""
}

func (w *wires) listStreams(map[string]any) (any, string) {
	list := []qmp.Chardev{}
	if w.nobody != nil && len(w.streams) > 1 {
		w.nobody()
	}
	for id, connected := range w.streams {
		filename := "tcp:there"
		if !connected {
			filename = "disconnected:tcp:there"
		}
		list = append(list, qmp.Chardev{Label: id, Filename: filename})
	}
	return list, ""
}

func (w *wires) addObject(args map[string]any) (any, string) {
	id, uses := args["id"].(string), ""
	for _, name := range []string{"indev", "outdev", "primary_in", "secondary_in"} {
		if stream, ok := args[name].(string); ok {
			if _, ok := w.streams[stream]; !ok {
				return nil, "there is no stream " + stream
			}
			uses += " " + stream
		}
	}
	if thread, ok := args["iothread"].(string); ok {
		uses += " thread:" + thread
	}
	w.objects[id] = uses
	if args["netdev"] == nil {
		return nil, ""
	}
	at := len(w.chain)
	if position, ok := args["position"].(string); ok {
		if at = slices.Index(w.chain, strings.TrimPrefix(position, "id=")); at < 0 {
			return nil, "there is no " + position
		}
	}
	w.chain = slices.Insert(w.chain, at, id)
	return nil, ""
}

func (w *wires) removeObject(args map[string]any) (any, string) {
	id := args["id"].(string)
	for object, uses := range w.objects {
		if slices.Contains(strings.Fields(uses), "thread:"+id) {
			return nil, "it is used by " + object
		}
	}
	delete(w.objects, id)
	w.chain = slices.DeleteFunc(w.chain, func(s string) bool { return s == id })
	return nil, ""
}

func (w *wires) listObjects(map[string]any) (any, string) {
	list := []map[string]string{{"name": "type", "type": "string"}}
	for id := range w.objects {
		list = append(list, map[string]string{"name": id, "type": "child<x>"})
	}
	return list, ""
}

func (w *wires) yank(args map[string]any) (any, string) {
	for _, i := range args["instances"].([]any) {
		id, _ := i.(map[string]any)["id"].(string)
		if _, ok := w.streams[id]; !ok {
			return nil, "Instance not found"
		}
		w.streams[id] = false
	}
	return nil, ""
}

// has compares what there is beside what QEMU had before.
func (w *wires) has(t *testing.T, when string, chain ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.chain, chain) {
		t.Errorf("%s: the wire has %q, want %q", when, w.chain, chain)
	}
	if !w.streams["disk"] {
		t.Errorf("%s: the disk's stream was cut", when)
	}
}

func oneCard() *cards {
	return &cards{list: []Card{{"n", 7000}}, local: "/run/q", log: hclog.NewNullLogger()}
}

// TestCardsThrough goes through a QEMU's life: it follows, takes over, is protected, and goes on alone.
func TestCardsThrough(t *testing.T) {
	w, q := newWires(t)
	ctx, c := t.Context(), oneCard()
	for range 2 {
		must(t, c.follow(ctx, q, "192.0.2.1"))
	}
	w.has(t, "following", "belay-n-wall", "belay-n-copied", "belay-n-told", "belay-n-rewrite")
	must(t, c.compare(ctx, q))
	w.has(t, "following, and nothing to compare", "belay-n-wall", "belay-n-copied", "belay-n-told",
		"belay-n-rewrite")
	must(t, c.open(ctx, q))
	w.has(t, "taken over", "belay-n-rewrite")
	for range 2 {
		must(t, c.connect(ctx, q, "192.0.2.2"))
		w.has(t, "connected", "belay-n-rewrite")
		must(t, c.compare(ctx, q))
		must(t, c.compare(ctx, q))
		w.has(t, "compared", "belay-n-mirror", "belay-n-released", "belay-n-held", "belay-n-rewrite")
		must(t, c.open(ctx, q))
		w.has(t, "alone", "belay-n-rewrite")
		must(t, c.compare(ctx, q))
		w.has(t, "alone, and too late to compare", "belay-n-rewrite")
	}
	if left := len(w.streams) + len(w.objects); left != 3 {
		t.Errorf("left are %v and %v", slices.Collect(maps.Keys(w.streams)), slices.Collect(maps.Keys(w.objects)))
	}
}

// TestCardsYank cuts what leads to the other host, and not what keeps packets back.
func TestCardsYank(t *testing.T) {
	w, q := newWires(t)
	c := oneCard()
	must(t, c.connect(t.Context(), q, "192.0.2.2"))
	c.yank(t.Context(), q, cardBetween)
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, want := range map[string]bool{"mirror": false, "theirs": false, "front": true, "back": true,
		"in": true, "out": true} {
		if got := w.streams["belay-n-"+id]; got != want {
			t.Errorf("%s is connected: %v", id, got)
		}
	}
}

// TestCardsUnreachable fails when nobody takes the packets, and holds none back then.
func TestCardsUnreachable(t *testing.T) {
	w, q := newWires(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.nobody = cancel
	c := oneCard()
	if err := c.connect(ctx, q, "192.0.2.2"); err == nil {
		t.Error("there was nobody to connect to")
	}
	must(t, c.compare(t.Context(), q))
	w.has(t, "not connected")
}

func TestParseCard(t *testing.T) {
	for text, want := range map[string]Card{"net0=7010": {"net0", 7010}, "a.b-c_d=1": {"a.b-c_d", 1}} {
		if got, err := ParseCard(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "net0", "net0=", "=7010", "net0=0", "net0=65535", "net0=x", "0net=7010",
		"a,b=7010", "a/b=7010", strings.Repeat("x", 33) + "=7010", "net0=-1"} {
		if got, err := ParseCard(text); err == nil {
			t.Errorf("%q is taken: %v", text, got)
		}
	}
}
