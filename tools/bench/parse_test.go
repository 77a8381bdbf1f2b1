package main

import (
	"bytes"
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/belay-vm/belay/tools/bench/report"
)

func TestParseFio(t *testing.T) {
	text, err := os.ReadFile("testdata/fio.json") // fio 3.33's own words
	if err != nil {
		t.Fatal(err)
	}
	v, err := parseFio(append([]byte("fio: a note before\n"), text...))
	if err != nil {
		t.Fatal(err)
	}
	for m, want := range map[report.Metric]float64{
		report.IOPS: 44805.97, report.Bandwidth: 175.08, report.P50: 79.36, report.P999: 288.768,
		report.CPU: 0.48 * 200e3 / 9006,
	} {
		if math.Abs(v[m]-want) > 0.01 {
			t.Errorf("%s is %g, not %g", m, v[m], want)
		}
	}
}

func TestParseFioRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":  "fio: failed",
		"cut":      `{"jobs": [`,
		"no job":   `{"jobs": []}`,
		"an error": `{"jobs": [{"error": 5, "read": {"total_ios": 1}}]}`,
		"nothing":  `{"jobs": [{"error": 0}]}`,
	} {
		if _, err := parseFio([]byte(text)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestParseDriven(t *testing.T) {
	v, err := parseDriven([]byte(`{"op":"write","requests":10,"iops":5,"mib_per_s":2,"errors":0,
		"lat_ns":{"p50":1500,"p99":2000,"p999":3000,"mean":1,"max":2},
		"flush_ns":{"p50":700,"p99":900,"p999":1000,"mean":1,"max":2},
		"cpu_ns_per_req":4500,"client_cpu_ns_per_req":100}`))
	if err != nil {
		t.Fatal(err)
	}
	for m, want := range map[report.Metric]float64{
		report.IOPS: 5, report.Bandwidth: 2, report.P50: 1.5, report.P99: 2, report.P999: 3,
		report.FlushP50: 0.7, report.FlushP99: 0.9, report.CPU: 4.5, report.ClientCPU: 0.1,
	} {
		if v[m] != want {
			t.Errorf("%s is %g, not %g", m, v[m], want)
		}
	}
	if v, err := parseDriven([]byte(`{"requests":1,"lat_ns":{}}`)); err != nil || len(v) != 7 {
		t.Errorf("without flushes: %v, %v", v, err)
	}
	if _, err := parseDriven([]byte(`{"requests":0}`)); !errors.Is(err, errNothing) {
		t.Errorf("nothing: %v", err)
	}
	for _, text := range []string{`{"requests":9,"errors":1}`, "no JSON"} {
		if _, err := parseDriven([]byte(text)); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}

func TestReadFigures(t *testing.T) {
	var told bytes.Buffer
	figures, err := readFigures(strings.NewReader(`=== RUN   TestScaleCut
SCALE {"figure":"cut","value":12.5,"unit":"µs","target":"<= 2","against":10,"ratio":1.25,"met":true}
    scale_test.go:9: SCALE {"figure":"memory","value":3,"unit":"MiB","target":"","against":0,"met":true}
SCALE {"figure":"open","value":3,"unit":"s","target":"< 1","against":0,"ratio":0,"met":false}
--- PASS: TestScaleCut (0.00s)
`), &told)
	if err != nil || len(figures) != 3 {
		t.Fatalf("got %+v, %v", figures, err)
	}
	if f := figures[0]; f.Name != "cut" || *f.Ratio != 1.25 || *f.Against != 10 || !*f.Met || f.Unit != "µs" {
		t.Errorf("got %+v", f)
	}
	if f := figures[1]; f.Ratio != nil || f.Against != nil || f.Met != nil {
		t.Errorf("a figure that is only reported: %+v", f)
	}
	if f := figures[2]; f.Ratio != nil || f.Met == nil || *f.Met {
		t.Errorf("a figure that was missed: %+v", f)
	}
	if !strings.Contains(told.String(), "cut: 12.5 µs") {
		t.Errorf("told: %s", told.String())
	}
	broken := "SCALE {\"figure\"\nSCALE {\"figure\":\"a\",\"value\":1}\n"
	figures, err = readFigures(strings.NewReader(broken), &told)
	if err == nil || len(figures) != 1 {
		t.Errorf("a broken line beside a whole one: %+v, %v", figures, err)
	}
}
