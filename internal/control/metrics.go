package control

import (
	"context"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Traffic is what the device has counted since the process began.
type Traffic struct {
	Queue int
	Type  string // of the requests: read, write, flush, ...

	Requests uint64
	Bytes    uint64
	Errors   uint64
	Latency  Histogram
}

// Histogram is a distribution of latencies.
type Histogram struct {
	Sum     float64            // seconds in all
	Count   uint64             // observations in all
	Buckets map[float64]uint64 // upper bound in seconds -> observations up to it
}

// Counter is one more number that only grows.
type Counter struct {
	Name, Help string
	Value      float64
}

// Sources are the places that metrics are read from, anew each time they are asked for.
type Sources struct {
	Version string
	Status  func(context.Context) (Status, error)
	Traffic func() []Traffic
	More    func() []Counter
}

// NewMetrics returns a registry of the process's own metrics and those of the sources.
func NewMetrics(src Sources) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&collector{src: src})
	return r
}

type collector struct{ src Sources }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("belay_"+name, help, labels, nil)
}

var (
	descBuild    = desc("build_info", "The program that serves the volume.", "version")
	descRequests = desc("requests_total", "Requests completed.", "queue", "type")
	descBytes    = desc("request_bytes_total", "Bytes moved by requests.", "queue", "type")
	descErrors   = desc("request_errors_total", "Requests that failed.", "queue", "type")
	descLatency  = desc("request_duration_seconds", "Time that requests took, their wait in the ring included.",
		"queue", "type")
	descUp = desc("volume_healthy", "1 while all is well, 0 when status shows an error.")
)

// Describe sends nothing: which metrics there are depends on the sources, so the collector is
// an unchecked one in Prometheus's words.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(descBuild, prometheus.GaugeValue, 1, c.src.Version)
	for _, t := range c.src.Traffic() {
		collectTraffic(out, t)
	}
	for _, m := range c.src.More() {
		out <- prometheus.MustNewConstMetric(desc(m.Name, m.Help), prometheus.CounterValue, m.Value)
	}
	st, err := c.src.Status(context.Background())
	if err != nil {
		out <- prometheus.NewInvalidMetric(descUp, err)
		return
	}
	collectStatus(out, st)
}

func collectTraffic(out chan<- prometheus.Metric, t Traffic) {
	labels := []string{strconv.Itoa(t.Queue), t.Type}
	counter := func(d *prometheus.Desc, v uint64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	counter(descRequests, t.Requests)
	counter(descBytes, t.Bytes)
	counter(descErrors, t.Errors)
	out <- prometheus.MustNewConstHistogram(descLatency, t.Latency.Count, t.Latency.Sum,
		t.Latency.Buckets, labels...)
}

func collectStatus(out chan<- prometheus.Metric, st Status) {
	for _, g := range []struct {
		name, help string
		value      float64
	}{
		{"disk_size_bytes", "Size of the guest's disk.", float64(st.Size)},
		{"used_bytes", "Live data and what checkpoints retain.", float64(st.Space.Used)},
		{"limbo_bytes", "Space given up that is not free yet.", float64(st.Space.Limbo)},
		{"free_bytes", "Space in the data area that is ready for reuse.", float64(st.Space.Free)},
		{"slack_bytes", "Space that may be neither live nor retained.", float64(st.Space.Slack)},
		{"data_bytes", "Length of the data area.", float64(st.Space.Data)},
		{"map_memory_bytes", "Memory that the block map takes.", float64(st.Space.MapMemory)},
		{"memory_bytes", "Memory of map, counts and checksums.", float64(st.Space.Memory)},
		{"journal_used_bytes", "Journal written since the last map snapshot.", float64(st.Journal.Used)},
		{"journal_size_bytes", "Size of the journal.", float64(st.Journal.Size)},
		{"checkpoints", "Retained checkpoints.", float64(st.Points)},
		{"unretired_checkpoints", "Checkpoints started and not yet retired.", float64(st.Unretired)},
		{"generation", "Fencing generation, raised by each takeover.", float64(st.Generation)},
		{"background_busy", "1 while the store works in the background.", truth(st.Background != "idle")},
		{"volume_healthy", "1 while all is well, 0 when status shows an error.",
			truth(st.Error == "")},
	} {
		out <- prometheus.MustNewConstMetric(desc(g.name, g.help), prometheus.GaugeValue, g.value)
	}
	for _, c := range []struct {
		name, help string
		value      uint64
	}{
		{"store_flushes_total", "Rounds of device flushes.", st.Work.Flushes},
		{"store_quick_flushes_total", "Flushes that took one sync and no round.", st.Work.Quick},
		{"store_snapshots_total", "Map snapshots written.", st.Work.Snapshots},
		{"store_bounced_total", "Requests whose data was copied.", st.Work.Bounced},
		{"store_remerged_total", "Partial writes that were merged once more.", st.Work.Remerged},
		{"store_punched_bytes_total", "Space given back to the file system.", st.Work.Punched},
		{"store_bad_checksums_total", "Blocks whose data did not have its checksum.", st.Work.BadSums},
	} {
		out <- prometheus.MustNewConstMetric(desc(c.name, c.help), prometheus.CounterValue, float64(c.value))
	}
	if s := st.Server; s != nil {
		out <- prometheus.MustNewConstMetric(desc("front_end_connected", "1 while a front end is connected."),
			prometheus.GaugeValue, truth(s.Connected))
		out <- prometheus.MustNewConstMetric(desc("front_end_sessions_total", "Front ends so far."),
			prometheus.CounterValue, float64(s.Sessions))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
