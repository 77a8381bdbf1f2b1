package control

import (
	"context"
	"reflect"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// loaded is a fake that counts.
type loaded struct {
	*fake
	load Load
}

func (l *loaded) Load(context.Context) (Load, error) { return l.load, l.fail }

func TestLoad(t *testing.T) {
	want := Load{At: 1 << 60, Queues: []QueueLoad{{Queue: 1, Type: "write", Requests: 3, Bytes: 1 << 63,
		Errors: 1, Ns: 7, Latency: [][2]uint64{{0, 1}, {255, 2}}}}}
	c := serve(t, &loaded{&fake{}, want}, prometheus.NewRegistry())
	got, err := c.Load(t.Context())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	c = serve(t, &fake{}, prometheus.NewRegistry())
	if _, err := c.Load(t.Context()); CodeOf(err) != CodeNotFound {
		t.Errorf("a volume that counts nothing: %v", err)
	}
}
