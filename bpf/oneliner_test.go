package bpf

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/belay-vm/belay/internal/probe"
)

// shown is what must appear when a line of docs/TRACING.md is run, by what is in the line.
var shown = []struct{ line, output string }{
	{"map dump pinned /sys/fs/bpf/belay/web/io_count", `"write": \{\s*"requests": 42,`},
	{"map dump pinned /sys/fs/bpf/belay/web/io_latency", `"write": \{\s*"slots": \[`},
	{"web/io_parts", `"type": 1,\s*"size": 1\s*\},\s*"value": \{\s*"requests": 3,\s*"bytes": 12288`},
	{"web/io_queues", `"kicks": 5,\s*"notifications": 4,\s*"batches": 1,\s*"inflight": 7`},
	{"web/io_lost", `"events": 0,\s*"records": 0`},
	{"web/config", `"outlier_ns": 1000000,`},
	{"web/uring_ops", `"submitted": 0,\s*"completed": 0,`},
	{"web/block_ops", `"queue_ns":`},
	{"prog show name requests", `kprobe\s+name requests`},
	{"@batch", `@batch:\s+\[2, 4\)\s+[1-9]`},
	{"@us", `@us\[1, 1\]:\s+\[64, 128\)\s+[1-9]`},
	{"@inflight", `@inflight: count [1-9]\d*, average 7, `},
	{"@kicks", `@kicks\[1\]: [1-9]`},
	{"@data_us", `@data_us:\s+\[16, 32\)\s+[1-9]`},
	{"sealed", `(?m)^epoch 7 sealed after 200 us$`},
	{"@punted", `@punted\[3\]: [1-9]`},
}

// Every line of the page works, and shows what is there.
func TestOneLiners(t *testing.T) {
	counters, err := OpenCounters(testName("web"), 2)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := counters.Close(); err != nil {
			t.Error(err)
		}
	}()
	counters.Count[32] = 42
	p := start(t)
	p.attach(Options{Name: testName("web"), Kernel: true, Signals: true, Outliers: time.Millisecond})
	p.requests(threeWrites(), 0)
	p.tell(opKick, 5, nil, 0, 1)
	p.tell(opNotify, 4, nil, 0, 1)
	lines, fresh := pageLines(t), start(t) // bpftrace comes to a process that nobody watches
	for _, s := range shown {
		who := p
		if strings.HasPrefix(s.line, "@") || s.line == "sealed" {
			who = fresh
		}
		t.Run(s.line, func(t *testing.T) { runLine(t, who, lines, s.line, s.output) })
	}
	for line := range lines {
		t.Errorf("nobody looks at what this shows: %s", line)
	}
}

func threeWrites() []probe.Request {
	r := probe.Request{
		Looked: 1000, Taken: 2000, Settled: 90_000, Published: 101_000, Bytes: 4096, Queue: 1, Type: probe.Write,
	}
	return []probe.Request{r, r, r}
}

// pageLines are the commands of the section, each to be run once.
func pageLines(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../docs/TRACING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## bpftool and bpftrace\n")
	section, _, _ = strings.Cut(section, "\n## ")
	lines, inside := map[string]bool{}, false
	scanner := bufio.NewScanner(strings.NewReader(strings.ReplaceAll(section, "\\\n", " ")))
	for scanner.Scan() {
		switch line := scanner.Text(); {
		case strings.HasPrefix(line, "```"):
			inside = !inside
		case inside && line != "" && !strings.HasPrefix(line, "#"):
			lines[line] = true
		}
	}
	return lines
}

func runLine(t *testing.T, p *target, lines map[string]bool, part, output string) {
	for line := range lines {
		if !strings.Contains(line, part) {
			continue
		}
		delete(lines, line)
		line = strings.ReplaceAll(line, "/usr/bin/belay", program)
		line = strings.ReplaceAll(line, `"belay"`, `"target"`)
		line = strings.ReplaceAll(line, PinDir("web"), PinDir(testName("web")))
		out := shell(t, p, line)
		if !regexp.MustCompile(output).MatchString(out) {
			t.Errorf("%s\nshowed no %s:\n%s", line, output, out[:min(len(out), 2000)])
		}
		return
	}
	t.Errorf("the page has no line with %s", part)
}

// shell runs a line. A bpftrace is fed with everything that can happen until it has seen some, and
// interrupted then, as a person would.
func shell(t *testing.T, p *target, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", "exec "+line)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(line, "bpftrace") {
		if !feed(t, ctx, p, cmd.Process.Pid) {
			t.Errorf("%s did not begin", line)
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out.String())
	}
	return out.String()
}

// feed waits until bpftrace has attached its program and makes everything happen once.
func feed(t *testing.T, ctx context.Context, p *target, tracer int) bool {
	t.Helper()
	entry := fmt.Sprintf("pid %d ", tracer)
	for !strings.Contains(perfList(t), entry) {
		if ctx.Err() != nil {
			return false
		}
		<-time.After(20 * time.Millisecond)
	}
	p.requests(threeWrites(), 0)
	p.do(opKick, 0, 1)
	p.do(opSealed, 0, 7, 200_000)
	p.do(opFlush, 0, 7, 20_000, 3_000, 2)
	p.tell(opWrite, 2, nil)
	return true
}

func perfList(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("bpftool", "perf", "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
