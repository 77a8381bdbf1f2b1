package control

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestMetrics(t *testing.T) {
	f := &fake{size: 8192}
	reg := NewMetrics(Sources{
		Version: "v1",
		Status:  f.Status,
		Traffic: func() []Traffic {
			return []Traffic{{Queue: 1, Type: "read", Requests: 3, Bytes: 4096, Errors: 1,
				Latency: Histogram{Sum: 0.5, Count: 3, Buckets: map[float64]uint64{0.001: 2, 1: 3}}}}
		},
		More: func() []Counter { return []Counter{{"bounced_bytes_total", "Bytes copied.", 7}} },
	})
	c := serve(t, f, reg)
	text := scrape(t, c)
	for _, line := range []string{
		`belay_requests_total{queue="1",type="read"} 3`,
		`belay_request_bytes_total{queue="1",type="read"} 4096`,
		`belay_request_errors_total{queue="1",type="read"} 1`,
		`belay_request_duration_seconds_bucket{queue="1",type="read",le="0.001"} 2`,
		`belay_request_duration_seconds_bucket{queue="1",type="read",le="+Inf"} 3`,
		`belay_request_duration_seconds_sum{queue="1",type="read"} 0.5`,
		`belay_disk_size_bytes 8192`,
		`belay_bounced_bytes_total 7`,
		`belay_front_end_connected 1`,
		`belay_front_end_sessions_total 2`,
		`belay_volume_healthy 1`,
		`belay_build_info{version="v1"} 1`,
		"go_goroutines ",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is missing", line)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func scrape(t *testing.T, c *Client) string {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), "GET", "http://belay"+metricsPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", a.Status, err, b)
	}
	return string(b)
}
