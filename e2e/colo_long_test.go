//go:build e2e

package e2e

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/pair"
)

// The load of TestColoLong: fio writes at random and reads everything back with checksums, again and again
// for so long, by the guest's clock, that it goes on beyond the failover. It says on the console how it went.
const fioLoad = `mkdir /mnt/fio
( runs=0; code=0
up() { cut -d. -f1 /proc/uptime; }
end=$(($(up) + 180))
while [ $(up) -lt $end ]; do
	fio --name=load --directory=/mnt/fio --size=4M --bs=4k --rw=randwrite --ioengine=libaio \
		--iodepth=8 --direct=1 --randrepeat=0 --end_fsync=1 --verify=crc32c --verify_fatal=1 --output=/run/fio.log
	code=$?
	[ $code = 0 ] || { cat /run/fio.log >/dev/console; break; }
	runs=$((runs + 1))
done
echo "load: ended with $code after $runs runs" >/dev/console ) &`

var fioEnded = regexp.MustCompile(`^load: ended with 0 after [1-9]\d* runs`)

// TestColoLong has 200 checkpoints, two a second, while fio and the ledger write. Nothing happens but
// checkpoints; then the primary's host dies, and what both have written is there.
func TestColoLong(t *testing.T) {
	const checkpoints = 200
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	s := newEtcdSides(t)
	s.extra = append(s.extra, "--peer-timeout", "3s") // the machine may be busy with other tests
	s.follow(ctx)
	a, b := s.vms[pair.A], s.vms[pair.B]
	shell(t, a, fioLoad)
	from := time.Now()
	s.must("checkpoints", a.Checkpoints(ctx, checkpoints))
	to := time.Now()
	t.Logf("%d checkpoints in %v", checkpoints, to.Sub(from))
	logPauses(t, "primary", a, from, to)
	s.await(ctx, pair.A, "protected")
	s.await(ctx, pair.B, "protected")
	s.went(pair.A, "syncing", "pairing", "paired")
	s.went(pair.B, "following")
	if epoch := s.status(pair.A).Pair.Epoch; epoch < checkpoints {
		t.Errorf("epoch %d after %d checkpoints", epoch, checkpoints)
	}
	t.Log(cli(t, "verify-pair", s.volume(pair.A, 0)))

	a.Kill()
	s.servers[pair.A].Kill()
	s.await(ctx, pair.B, "alone")
	s.goesOn(ctx, pair.B)
	line, err := b.Lines.Await(ctx, 0, 1, fioEnded)
	s.must("fio", err)
	t.Log(line)
	s.goesOn(ctx, pair.B)
	s.sound(pair.B)
	cli(t, "check", s.volume(pair.B, 0))
}

var phaseLine = regexp.MustCompile(`phase: was=("[^"]*"|\S+) now=("[^"]*"|\S+)`)

// went wants a side's belay to have had these phases, and no others, since it was started.
func (p *sides) went(id pair.ID, want ...string) {
	p.t.Helper()
	var got []string
	for _, found := range phaseLine.FindAllStringSubmatch(p.servers[id].Log(), -1) {
		got = append(got, strings.Trim(found[2], `"`))
	}
	if !slices.Equal(got, want) {
		p.t.Errorf("%v went through %q, want %q", id, got, want)
	}
}
