package checkpoint

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestScaleOpen opens a volume whose server was killed (kill -9) with many writes in the journal
// and none of them in the map, at several mapped sizes. Opening takes time for what is in the
// journal, whatever is mapped.
func TestScaleOpen(t *testing.T) {
	writes := sized(1_000_000, 20_000)
	sizes := sized([]int64{1, 16, 256}, []int64{1, 4})
	for _, c := range []struct {
		name  string
		every int // writes between checkpoints
	}{{"", 0}, {", a checkpoint every 25,000 writes", writes / 40}} {
		var first time.Duration
		for _, gib := range sizes {
			warm, cold := timeOpens(t, gib<<30, writes, c.every)
			if first == 0 {
				first = warm
			}
			per := func(d time.Duration) float64 { return ms(d) * 1e6 / float64(writes) }
			figure{Figure: fmt.Sprintf("opening after kill -9, %d GiB mapped%s", gib, c.name), Value: per(warm),
				Unit: "ms per million", Target: "< 1000, and at most 2 times that of 1 GiB", Against: per(first),
				Met: per(warm) < 1000 && warm <= 2*first}.print(t)
			name := fmt.Sprintf("the same with cold caches, %d GiB mapped%s", gib, c.name)
			report(t, name, per(cold), "ms per million")
		}
	}
}

// timeOpens is the least of several openings each with journal and map in the page cache, as the
// death of a process leaves them, and without.
func timeOpens(t *testing.T, mapped int64, writes, every int) (warm, cold time.Duration) {
	dir := killedVolume(t, mapped, writes, every)
	for range sized(5, 1) {
		warm = leastOf(warm, timeOpen(t, dir, writes))
		dropCaches(t, dir)
		cold = leastOf(cold, timeOpen(t, dir, writes))
	}
	return warm, cold
}

func leastOf(a, b time.Duration) time.Duration {
	if a == 0 || b < a {
		return b
	}
	return a
}

// childVolume makes the test binary serve as the process that is killed.
const childVolume = "CHECKPOINT_TEST_VOLUME"

// killedVolume makes a volume with so many bytes mapped in pages, and has a child process write to
// it until it is killed.
func killedVolume(t *testing.T, mapped int64, writes, every int) string {
	t.Helper()
	r := newScale(t, CreateOptions{Size: mapped})
	r.fill(mapped)
	r.eachLeaf(mapped)
	r.close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(exe, "-test.run=^TestScaleOpenChild$", "-test.v")
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %d %s", childVolume, mapped, writes, every, r.dir))
	child.Stderr = os.Stderr
	if _, err := child.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines, said := bufio.NewScanner(out), ""
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "written") {
		said += lines.Text() + "\n"
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	if !strings.HasPrefix(lines.Text(), "written") {
		t.Fatalf("the child did not write: %s", said)
	}
	return r.dir
}

// TestScaleOpenChild is the process that is killed.
func TestScaleOpenChild(t *testing.T) {
	var mapped int64
	var writes, every int
	var dir string
	if n, _ := fmt.Sscan(os.Getenv(childVolume), &mapped, &writes, &every, &dir); n < 4 {
		t.Skip("this is not the process that is to be killed")
	}
	r := openScale(t, dir, scaleOptions())
	for ; every > 0 && writes > every; writes -= every {
		r.scatter(every, mapped)
		if _, err := r.s.Start("", false); err != nil {
			t.Fatal(err)
		}
		if _, err := r.s.Retire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r.scatter(writes, mapped)
	fmt.Printf("written %d\n", r.s.Status().Sequence)
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the end: nobody writes anything
}

// timeOpen opens a copy of the volume, so that it can be opened again as it was.
func timeOpen(t *testing.T, dir string, writes int) time.Duration {
	t.Helper()
	saved := saveJournal(t, dir)
	o := scaleOptions()
	o.ByHand = true // nothing is written behind our back
	begun := time.Now()
	s, err := OpenOn(emptyFS{Dir(dir)}, o)
	took := time.Since(begun)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.Status().Sequence; n < uint64(writes/scaleDepth) {
		t.Fatalf("%d records were replayed", n)
	}
	leaveBehind(t, s)
	restoreJournal(t, dir, saved)
	return took
}

// leaveBehind ends a store as the death of its process would: nothing more is written.
func leaveBehind(t *testing.T, s *Store) {
	t.Helper()
	s.background.end()
	if err := s.journal.close(false); err != nil {
		t.Fatal(err)
	}
	s.files.journal = nil
	if err := s.closeFiles(); err != nil {
		t.Fatal(err)
	}
}

func saveJournal(t *testing.T, dir string) []byte {
	t.Helper()
	p, err := os.ReadFile(filepath.Join(dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func restoreJournal(t *testing.T, dir string, p []byte) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, journalName), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(p, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// dropCaches takes the volume's files out of the page cache.
func dropCaches(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{journalName, mapName} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err = f.Sync(); err == nil {
			err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
}
