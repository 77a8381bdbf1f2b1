package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// schema is the version of result.json.
const schema = 1

// Names of the files of a saved result.
const (
	jsonFile  = "result.json"
	tableFile = "table.txt"
	plotFile  = "plot.png"
)

// ErrSchema marks a result that another version of this program wrote.
var ErrSchema = errors.New("written by another version of this program")

// Metric is the name of something that a sample has a value of.
type Metric string

// What samples may have values of.
const (
	IOPS        Metric = "iops"
	Bandwidth   Metric = "mib_per_s"
	P50         Metric = "p50_us"
	P99         Metric = "p99_us"
	P999        Metric = "p999_us"
	FlushP50    Metric = "flush_p50_us"
	FlushP99    Metric = "flush_p99_us"
	CPU         Metric = "cpu_us"        // of the back end, for each request
	ClientCPU   Metric = "client_cpu_us" // of the load generator, for each request
	Checkpoints Metric = "checkpoints"
	RetireP50   Metric = "retire_p50_us"
)

// Result is all of one run.
type Result struct {
	Schema   int               `json:"schema"`
	Date     time.Time         `json:"date"`
	Commit   string            `json:"commit"`
	Short    bool              `json:"short,omitempty"` // mechanics only; the times mean nothing
	Machine  Machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	Settings Settings          `json:"settings"`
	Rows     []Row             `json:"rows"`
	Figures  []Figure          `json:"figures,omitempty"`

	// Outcomes are derived from Rows, and saved for readers that are not this program.
	Outcomes []Outcome `json:"outcomes"`
}

// Machine is where the run was.
type Machine struct {
	CPU        string     `json:"cpu"`
	CPUs       int        `json:"cpus"`
	Memory     uint64     `json:"memory_bytes"`
	Kernel     string     `json:"kernel"`
	Disk       string     `json:"disk"`
	FileSystem string     `json:"file_system"`
	Load       [2]float64 `json:"load"` // of the last minute, at the beginning and at the end
}

// Settings are the run's own choices.
type Settings struct {
	Rounds     int     `json:"rounds"`
	Seconds    float64 `json:"seconds"`
	Ramp       float64 `json:"ramp_seconds"`
	Size       int64   `json:"size_bytes"`
	BackendCPU int     `json:"backend_cpu"`
	ClientCPU  int     `json:"client_cpu"`
}

// Row is a workload in a placement.
type Row struct {
	Name      string   `json:"name"`
	Title     string   `json:"title"`
	Placement string   `json:"placement"`
	Entries   []Entry  `json:"entries"`
	Targets   []Target `json:"targets"`
	Samples   []Sample `json:"samples"`
}

// Entry is one thing that is measured in a row.
type Entry struct {
	Name string `json:"name"`
	What string `json:"what,omitempty"`
	// Repeats names the entry of which this one is the second measurement.
	Repeats string `json:"repeats,omitempty"`
}

// Target is what a row is to show: the ratio of a metric of Entry to the same of Against. With
// several names the best of them is meant. Exactly one of AtLeast and AtMost is set.
type Target struct {
	Entry   string   `json:"entry"`
	Metric  Metric   `json:"metric"`
	Against []string `json:"against"`
	AtLeast float64  `json:"at_least,omitempty"`
	AtMost  float64  `json:"at_most,omitempty"`
	Stretch float64  `json:"stretch,omitempty"` // a bound that would be better still
}

// Sample is what an entry showed in one round.
type Sample struct {
	Round  int                `json:"round"`
	Turn   int                `json:"turn"` // its place in the round's order
	Entry  string             `json:"entry"`
	Values map[Metric]float64 `json:"values"`
}

// Figure is a number about the store itself.
type Figure struct {
	Name    string   `json:"figure"`
	Value   float64  `json:"value"`
	Unit    string   `json:"unit"`
	Target  string   `json:"target,omitempty"`
	Against *float64 `json:"against,omitempty"`
	Ratio   *float64 `json:"ratio,omitempty"`
	Met     *bool    `json:"met,omitempty"`
}

// Save judges the result and writes it into a directory, which it makes: JSON, table, plot.
func (r *Result) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	r.Schema, r.Outcomes = schema, r.judge()
	text, err := r.encode()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, jsonFile), text, 0o666); err != nil {
		return err
	}
	var table bytes.Buffer
	if err := r.Table(&table); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, tableFile), table.Bytes(), 0o666); err != nil {
		return err
	}
	picture, err := r.plot()
	if err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, plotFile), picture, 0o666)
}

// Load reads what Save wrote. Outcomes are judged again, from the samples.
func Load(dir string) (*Result, error) {
	text, err := os.ReadFile(filepath.Join(dir, jsonFile))
	if err != nil {
		return nil, err
	}
	r := new(Result)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if r.Schema != schema {
		return nil, fmt.Errorf("%s: %w (%d, this one writes %d)", dir, ErrSchema, r.Schema, schema)
	}
	r.Outcomes = r.judge()
	return r, nil
}

// encode is JSON that a person can read, with each sample on one line: there are hundreds.
func (r *Result) encode() ([]byte, error) {
	plain := *r
	plain.Rows = make([]Row, len(r.Rows))
	samples := make([][]byte, len(r.Rows))
	for i, row := range r.Rows {
		var lines bytes.Buffer
		for j, s := range row.Samples {
			one, err := json.Marshal(s)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&lines, "%s\n        %s", []string{"", ","}[min(j, 1)], one)
		}
		if samples[i] = nil; lines.Len() > 0 {
			samples[i] = lines.Bytes()
		}
		plain.Rows[i], plain.Rows[i].Samples = row, []Sample{}
	}
	text, err := json.MarshalIndent(plain, "", "  ")
	if err != nil {
		return nil, err
	}
	parts := bytes.Split(text, []byte(emptySamples))
	var out bytes.Buffer
	for i, part := range parts {
		out.Write(part)
		if i < len(samples) {
			fmt.Fprintf(&out, `"samples": [%s]`, samples[i])
		}
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// emptySamples is how an encoded row says that it has none. Quotes in texts are escaped, so it
// is nothing else.
const emptySamples = `"samples": []`
