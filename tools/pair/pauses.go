package pair

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Pauses are a machine's, one for each checkpoint.
type Pauses struct {
	// Events is from STOP to RESUME: without what the disks' rings took to stop.
	Events []time.Duration
	// Whole is from when the virtual CPUs stood.
	Whole []time.Duration
}

// Pauses are those that began between two moments on QEMU's clock, the machine's.
func (m *Machine) Pauses(from, to time.Time) (Pauses, error) {
	text, err := os.ReadFile(m.side.Path(traceFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Pauses{}, err
	}
	return Pauses{
		durations(m.Events.spans(), from, to),
		durations(tracedSpans(string(text)), from, to),
	}, nil
}

// span is one pause.
type span struct{ from, to time.Time }

func durations(spans []span, from, to time.Time) []time.Duration {
	var all []time.Duration
	for _, s := range spans {
		if s.from.After(from) && s.from.Before(to) {
			all = append(all, s.to.Sub(s.from))
		}
	}
	return all
}

// notify is a line of QEMU's log, of the trace point vm_state_notify: time, and whether
// the machine runs.
var notify = regexp.MustCompile(`(?m)^\d+@(\d+)\.(\d{6}):vm_state_notify running ([01]) `)

// tracedSpans are the times in which the machine did not run. It is not started before the first:
// a machine's life begins with a stop that nobody logs.
func tracedSpans(text string) []span {
	var all []span
	var stopped time.Time
	for _, words := range notify.FindAllStringSubmatch(text, -1) {
		at := clock(words[1], words[2])
		switch {
		case words[3] == "0":
			stopped = at
		case !stopped.IsZero():
			all = append(all, span{stopped, at})
			stopped = time.Time{}
		}
	}
	return all
}

// clock reads what the pattern notify has found: digits only.
func clock(seconds, micros string) time.Time {
	s, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{} // more digits than a time has
	}
	us, err := strconv.ParseInt(micros, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(s, us*1000)
}

// Quantile is the value that a share q of the durations does not exceed; 0 without any.
func Quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
