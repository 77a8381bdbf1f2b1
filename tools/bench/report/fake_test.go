package report

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (make golden writes it anew):\n%s", path, got)
	}
}

// samples gives an entry one sample of a metric in each round.
func samples(entry string, m Metric, values ...float64) []Sample {
	var all []Sample
	for i, v := range values {
		all = append(all, Sample{Round: i, Turn: i % 3, Entry: entry, Values: map[Metric]float64{m: v}})
	}
	return all
}

func join(parts ...[]Sample) []Sample {
	var all []Sample
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// fake is a result with one of everything. Belay's figures are multiplied by speed.
func fake(speed float64) *Result {
	yes, no, six, two := true, false, 6.0, 2.0
	scaled := func(values ...float64) []float64 {
		for i := range values {
			values[i] *= speed
		}
		return values
	}
	r := &Result{
		Date: time.Date(2026, 11, 21, 11, 5, 0, 0, time.UTC), Commit: "7e67e80", Schema: schema,
		Machine: Machine{CPU: "Some CPU", CPUs: 2, Memory: 48 << 30, Kernel: "6.18.44", Disk: "vda (mq-deadline)",
			FileSystem: "ext4 (rw)", Load: [2]float64{0.1, 1.5}},
		Versions: map[string]string{"go": "go1.26.8", "fio": "fio-3.33"},
		Settings: Settings{Rounds: 3, Seconds: 2, Ramp: 0.3, Size: 2 << 30, ClientCPU: 1},
		Rows: []Row{{
			Name: "randread-qd32", Title: "4 KiB random read, depth 32", Placement: "front end polling on CPU 1",
			Entries: []Entry{{Name: "belay"}, {Name: "belay again", Repeats: "belay"}, {Name: "qsd raw"},
				{Name: "fio"}, {Name: "fio big"}},
			Targets: []Target{
				{Entry: "belay", Metric: IOPS, Against: []string{"qsd raw"}, AtLeast: 1.25, Stretch: 1.5},
				{Entry: "belay", Metric: IOPS, Against: []string{"fio", "fio big"}, AtLeast: 0.95},
				{Entry: "belay", Metric: P50, Against: []string{"qsd raw"}, AtMost: 0.9},
			},
			Samples: join(samples("belay", IOPS, scaled(90e3, 100e3, 110e3)...),
				samples("belay again", IOPS, scaled(91e3, 99e3, 112e3)...),
				samples("qsd raw", IOPS, 70e3, 72e3, 75e3), samples("fio", IOPS, 94e3, 95e3, 96e3),
				samples("fio big", IOPS, 95e3, 108e3, 110e3)),
		}, {
			Name: "flush-one-cpu", Title: "write + flush", Placement: "all on CPU 0",
			Entries: []Entry{{Name: "belay"}, {Name: "qsd raw"}},
			Targets: []Target{{Entry: "belay", Metric: FlushP50, Against: []string{"qsd raw"}, AtMost: 1}},
			Samples: join(samples("belay", FlushP50, 50, 60, 70), samples("qsd raw", FlushP50, 155, 150, 145)),
		}},
		Figures: []Figure{
			{Name: "cut, 1,000,000 dirty blocks", Value: 6, Unit: "µs", Target: "<= 2", Against: &six,
				Ratio: &two, Met: &yes},
			{Name: "map, random over 64 GiB", Value: 0.3, Unit: "%", Met: &no},
		},
	}
	r.Outcomes = r.judge()
	return r
}
