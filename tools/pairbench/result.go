package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/belay-vm/belay/tools/bench/report"
)

// result is all of one run, or of several that were made into one.
type result struct {
	Date     time.Time         `json:"date"`
	Commit   string            `json:"commit"`
	Machine  report.Machine    `json:"machine"`
	Versions map[string]string `json:"versions"`
	Settings settings          `json:"settings"`
	Accel    string            `json:"accel"` // what executed the guests
	Samples  []sample          `json:"samples"`
	Outcomes []outcome         `json:"outcomes"`
}

// settings are the run's own choices.
type settings struct {
	Seconds       float64 `json:"load_seconds"`
	Checkpoints   int     `json:"idle_checkpoints"`
	DelayMs       float64 `json:"checkpoint_delay_ms"`
	PeerTimeoutMs float64 `json:"peer_timeout_ms"`
	SizeMiB       int64   `json:"size_mib"`
}

// sample is what one pair showed.
type sample struct {
	Part    string `json:"part"`
	Round   int    `json:"round"`
	Subject string `json:"subject"`
	Values  values `json:"values"`
}

// Names of the files of a saved result.
const (
	jsonFile  = "result.json"
	tableFile = "table.txt"
)

// results is where results are saved if nothing else is said.
const results = "bench/pair"

// openResult is the result that is in the output directory, to be added to, or a new one.
func openResult(ctx context.Context, o *options) (*result, error) {
	r := &result{
		Date: time.Now().Round(time.Second), Commit: report.Commit(ctx),
		Versions: map[string]string{
			"belay": report.FirstLine(ctx, o.belay, "version"),
			"qemu":  report.FirstLine(ctx, "qemu-system-x86_64", "--version"),
		},
		Settings: settings{o.load.Seconds(), o.checkpoints, millis(o.delay), millis(o.peerTimeout), o.sizeMiB},
	}
	var err error
	if r.Machine, err = report.Describe(os.TempDir()); err != nil {
		return nil, fmt.Errorf("describe this machine: %w", err)
	}
	r.Machine.Load[0] = report.LoadNow()
	if o.out == "" {
		o.out = filepath.Join(results, r.Date.Format("20060102-1504")+"-"+r.Commit)
	}
	text, err := os.ReadFile(filepath.Join(o.out, jsonFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	old := new(result)
	if err := json.Unmarshal(text, old); err != nil {
		return nil, fmt.Errorf("%s: %w", o.out, err)
	}
	if old.Settings != r.Settings || old.Commit != r.Commit {
		return nil, fmt.Errorf("%s is of commit %s and settings %+v: it cannot be added to", o.out, old.Commit,
			old.Settings)
	}
	return old, nil
}

// rounds is how many a part has.
func (r *result) rounds(part string) int {
	n := 0
	for _, s := range r.Samples {
		if s.Part == part {
			n = max(n, s.Round+1)
		}
	}
	return n
}

func (r *result) save(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	r.Machine.Load[1] = report.LoadNow()
	r.Outcomes = r.judge()
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, jsonFile), append(text, '\n'), 0o666); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, tableFile))
	if err != nil {
		return err
	}
	return errors.Join(r.table(f), f.Close())
}

// values are a subject's of one name, by round.
func (r *result) values(subject, name string) map[int]float64 {
	found := map[int]float64{}
	for _, s := range r.Samples {
		if v, ok := s.Values[name]; ok && s.Subject == subject {
			found[s.Round] = v
		}
	}
	return found
}

// spread is a median with its quartiles; N is 0 if there is nothing.
func spread(byRound map[int]float64) report.Spread {
	var all []float64
	for _, v := range byRound {
		all = append(all, v)
	}
	if len(all) == 0 {
		return report.Spread{}
	}
	return report.SpreadOf(all)
}

// target is what belay is to reach, in terms of another subject's value in the same round, or by itself.
type target struct {
	Value   string  `json:"value"`
	Against string  `json:"against,omitempty"`
	Less    bool    `json:"difference,omitempty"` // the difference counts, not the ratio
	AtMost  float64 `json:"at_most"`
}

var targets = []target{
	{"idle_pause_ms", "bare", true, 3},
	{"fsync_pause_ms", "bare", true, 3},
	{"write_pause_ms", "bare", true, 3},
	{"fsync_p50_ms", "qemu", false, 0.7},
	{"fsync_p99_ms", "qemu", false, 0.7},
	{"word_ms", "qemu", false, 1},
	{"died_ms", "qemu", false, 1},
	{"resync_per_changed", "", false, 1.1},
}

// outcome is what became of a target.
type outcome struct {
	target
	Is  report.Spread `json:"is"`
	Met bool          `json:"met"`
}

func (r *result) judge() []outcome {
	all := []outcome{}
	for _, t := range targets {
		is := map[int]float64{}
		against := r.values(t.Against, t.Value)
		for round, v := range r.values("belay", t.Value) {
			by, ok := against[round]
			switch {
			case t.Against == "":
				is[round] = v
			case ok && t.Less:
				is[round] = v - by
			case ok:
				is[round] = v / by
			}
		}
		if s := spread(is); s.N > 0 {
			all = append(all, outcome{t, s, s.Median <= t.AtMost})
		}
	}
	return all
}

// shown are the lines of the table.
var shown = []struct{ name, what, format string }{
	{"idle_pause_ms", "pause of the primary, guest idle: median, ms", "%.1f"},
	{"idle_pause_max_ms", "  longest", "%.1f"},
	{"secondary_pause_ms", "pause of the secondary, guest idle: median, ms", "%.1f"},
	{"fsync_pause_ms", "pause of the primary, 4 KiB write + fsync: median, ms", "%.1f"},
	{"fsync_pause_max_ms", "  longest", "%.1f"},
	{"write_pause_ms", "pause of the primary, 4 KiB writes, depth 16: median, ms", "%.1f"},
	{"write_pause_max_ms", "  longest", "%.1f"},
	{"fsync_p50_ms", "fsync in the guest: p50, ms", "%.2f"},
	{"fsync_p99_ms", "  p99", "%.2f"},
	{"fsync_per_s", "4 KiB write + fsync, one at a time: a second", "%.0f"},
	{"fsync_sent_per_byte", "  bytes sent for the disk, per byte written", "%.3f"},
	{"write_per_s", "4 KiB random writes, depth 16: a second", "%.0f"},
	{"write_sent_per_byte", "  bytes sent for the disk, per byte written", "%.3f"},
	{"died_ms", "failover from the kill of the primary's QEMU, ms", "%.1f"},
	{"noticed_ms", "  of it, until the secondary's QEMU has noticed", "%.1f"},
	{"word_ms", "failover from the operator's word, host dead, ms", "%.1f"},
	{"promise_ms", "  from the kill until the word counts, ms", "%.0f"},
	{"sync_sent", "bytes sent for the disk, first synchronisation", "%.0f"},
	{"resync_sent", "bytes sent for the disk, re-protection", "%.0f"},
	{"resync_per_changed", "  per byte changed (10 MiB)", "%.2f"},
	{"resync_s", "  seconds, QEMU's start included", "%.1f"},
}

// table shows medians, and what became of the targets.
func (r *result) table(w io.Writer) error {
	out := &printer{w: w}
	out.printf("QEMU COLO, the disk carried by nobody, belay, QEMU; %s, commit %s\n%s%s\n%s\n",
		r.Date.Format("2006-01-02 15:04 MST"), r.Commit, r.Machine, r.Versions["belay"], r.Versions["qemu"])
	s := r.Settings
	out.printf("guests under %s, a checkpoint every %g ms, disk of %d MiB, loads of %g s, "+
		"--peer-timeout %g ms; medians\n", r.Accel, s.DelayMs, s.SizeMiB, s.Seconds, s.PeerTimeoutMs)
	for _, p := range parts {
		out.printf("%s: %d rounds; ", p.name, r.rounds(p.name))
	}
	out.printf("\n\n")
	columns := []string{"bare", "belay", "qemu"}
	out.printf("%-60s%14s%14s%14s\n", "", columns[0], columns[1], columns[2])
	for _, line := range shown {
		out.printf("%-60s", line.what)
		for _, subject := range columns {
			text := "-"
			if v := spread(r.values(subject, line.name)); v.N > 0 {
				text = fmt.Sprintf(line.format, v.Median)
			}
			out.printf("%14s", text)
		}
		out.printf("\n")
	}
	out.printf("\n%-60s%10s  %s\n", "belay, within a round; median [quartiles]", "target", "is")
	for _, o := range r.judge() {
		what := o.Value
		if o.Against != "" {
			what = fmt.Sprintf("%s %s %s", o.Value, map[bool]string{true: "-", false: "/"}[o.Less], o.Against)
		}
		verdict := map[bool]string{true: "met", false: "missed"}[o.Met]
		out.printf("%-60s%10s  %.2f [%.2f, %.2f] %s\n", what, fmt.Sprintf("≤ %g", o.AtMost),
			o.Is.Median, o.Is.Q1, o.Is.Q3, verdict)
	}
	return out.err
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}
