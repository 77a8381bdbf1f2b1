//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/belay-vm/belay/tools/freeze"
	"github.com/belay-vm/belay/tools/pair"
)

var (
	coloRounds = flag.Int("colo.rounds", 0, "kills at random steps of a checkpoint; 0: every step once")
	coloSteps  = flag.String("colo.steps", "", "only steps that match: role, name (function)")
	coloSeed   = flag.Uint64("colo.seed", 0, "of TestColoSteps; 0: another one each time")
)

// step is a moment of a checkpoint: the entry of a function of belay's, on one side.
type step struct {
	role     string
	name     string
	function string // by the linker's name, without the module; one without a dot is a probe point
}

// then is between two functions where a step is the next entry of the second one after the first, as that
// one is entered for other things, too.
const then = ", then "

// The roles of a pair.
const (
	primary   = "primary"
	secondary = "secondary"
)

// steps are all of them, in their order. What comes after something is the entry of what follows.
var steps = []step{
	{primary, "the disk is sent ahead", "mirror.(*Session).sendBatch"},
	{primary, "the machine is to stand", "colo.(*primary).stopRequested"},
	{primary, "before the rings are drained", "internal/pair.(*Pair).drainAll"},
	{primary, "drained, before the seal", "internal/pair.(*Pair).seal"},
	{primary, "in the seal", "checkpoint.(*Tracker).Start"},
	{primary, "a point was put", "belay_checkpoint_start"},
	{primary, "sealed, before it is sent", "mirror.(*Stream).Seal"},
	{primary, "sent", "belay_mirror_send"},
	{primary, "acknowledged", "belay_mirror_ack"},
	{primary, "before the stop is answered", "internal/pair.(*Disk).answer"},
	{primary, "around the memory's way", "internal/pair.(*qemu).take"},
	{primary, "the machine runs, before its rings", "colo.(*primary).ringStart"},
	{primary, "before the start is announced", "mirror.(*Stream).RingStart"},
	{primary, "the start is acknowledged", "colo.(*primary).startAcked"},
	{primary, "before a ring is released", "internal/pair.(*Disk).release"},
	{primary, "the load is reported", "internal/pair.(*Pair).durable"},
	{primary, "before it is committed", "internal/pair.(*Pair).commit"},
	{primary, "before a point is retired", "checkpoint.(*Store).Retire"},
	{primary, "retired", "belay_checkpoint_retired"},
	{primary, "the point is durable", "belay_checkpoint_sealed"},
	{primary, "before it asks for a promise", "mirror.(*Session).AskRenewal"},

	{secondary, "before a part is staged", "internal/pair.(*sink).Write"},
	{secondary, "the machine is to stand", "internal/pair.(*Disk).drain"},
	{secondary, "before the stop is answered", "internal/pair.(*Disk).answer"},
	{secondary, "sealed, before that is prepared", "internal/pair.(*sink).Seal"},
	{secondary, "complete, before it says so", "internal/pair.(*sink).Seal" + then + "mirror.(*Session).answer"},
	{secondary, "the memory is loaded", "colo.(*secondary).resumed"},
	{secondary, "before the disk is loaded", "internal/pair.(*sink).load"},
	{secondary, "in the load", "checkpoint.(*Store).Load"},
	{secondary, "loaded", "internal/pair.(*Pair).report"},
	{secondary, "before the report", "mirror.(*Session).Report"},
	{secondary, "reported, before it is durable", "checkpoint.(*Store).Sync"},
	{secondary, "durable", "internal/pair.(*Pair).kept"},
	{secondary, "its rings are started", "internal/pair.(*Disk).enter"},
	{secondary, "before a ring is released", "internal/pair.(*Disk).release"},
	{secondary, "the primary's start is announced", "colo.(*secondary).starting"},
	{secondary, "before it acknowledges that", "colo.(*secondary).starting" + then + "mirror.(*Session).answer"},
	{secondary, "before it promises", "mirror.(*Session).Renew"},
}

// symbols are the functions as the linker names them, in the order in which they are entered.
func (s step) symbols() (names []string) {
	for name := range strings.SplitSeq(s.function, then) {
		if strings.Contains(name, ".") {
			name = "github.com/belay-vm/belay/" + name
		}
		names = append(names, name)
	}
	return names
}

func (s step) String() string { return fmt.Sprintf("%s, %s (%s)", s.role, s.name, s.function) }

// chosen are the steps that are to be done.
func chosen(t *testing.T) (some []step) {
	t.Helper()
	match, err := regexp.Compile(*coloSteps)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if match.MatchString(s.String()) {
			some = append(some, s)
		}
	}
	if len(some) == 0 {
		t.Fatalf("no step matches %q", *coloSteps)
	}
	return some
}

// What dies at a step.
const (
	killHost  = "host"  // QEMU and belay, as one; its kernel ends their connections
	killPower = "power" // the same without a word to anybody
	killQEMU  = "QEMU"  // and belay goes on from there
	killBelay = "belay" // and its guard ends QEMU
)

// blow is what happens in a round: at the n-th time that a step is reached, something dies.
type blow struct {
	step
	n    int
	what string
}

func (b blow) String() string {
	return fmt.Sprintf("%s, time %d: it loses its %s", b.step, b.n, b.what)
}

// Bounds of a round, and of the rounds with one pair.
const (
	roundTime  = 2 * time.Minute
	roundsEach = 8
	mostHits   = 3
)

// plan draws what is to be done. Each step is the end of a host once; some are then that of a part of one.
func plan(r *rand.Rand, steps []step, rounds int) (all []blow) {
	some := func(s step, what string) { all = append(all, blow{s, 1 + r.IntN(mostHits), what}) }
	if rounds > 0 {
		for range rounds {
			what := []string{killHost, killPower, killQEMU, killBelay}[r.IntN(4)]
			some(steps[r.IntN(len(steps))], what)
		}
		return all
	}
	for i, s := range r.Perm(len(steps)) {
		some(steps[s], []string{killHost, killPower}[i%2])
	}
	for i, s := range r.Perm(len(steps))[:min(len(steps), roundsEach)] {
		some(steps[s], []string{killQEMU, killBelay}[i%2])
	}
	return all
}

// TestColoSteps kills one host, or a part of it, at each step of a checkpoint. Each time the other side
// goes on alone, its memory and its disk agree, and it is protected again by the one that died.
func TestColoSteps(t *testing.T) {
	known(t)
	seed := *coloSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	all := plan(rand.New(rand.NewPCG(seed, 0)), chosen(t), *coloRounds)
	for i := 0; i < len(all); i += roundsEach {
		t.Run(fmt.Sprintf("pair%d", i/roundsEach), func(t *testing.T) {
			s := newEtcdSides(t)
			ctx, cancel := context.WithTimeout(context.Background(), roundTime)
			s.follow(ctx)
			cancel()
			serves := pair.A
			for _, b := range all[i:min(i+roundsEach, len(all))] {
				serves = s.round(serves, b)
			}
			s.sound(serves)
			cli(t, "check", s.volume(serves, 0))
		})
	}
}

// known wants the program under test to have all functions: one may have been renamed, or inlined.
func known(t *testing.T) {
	t.Helper()
	var names []string
	for _, s := range steps {
		names = append(names, s.symbols()...)
	}
	if lacks, err := freeze.Lacking(binary(), names); err != nil || len(lacks) > 0 {
		t.Fatalf("the program under test lacks %q: %v", lacks, err)
	}
}

// round has something die, and the other side protected again. It returns who serves then.
func (p *sides) round(serves pair.ID, b blow) pair.ID {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), roundTime)
	defer cancel()
	began := time.Now()
	p.t.Log(b)
	dies := serves
	if b.role == secondary {
		dies = serves.Other()
	}
	survives := dies.Other()
	p.strike(ctx, dies, b)
	killed := time.Now()
	p.await(ctx, survives, "alone")
	alone := time.Since(killed)
	p.nothingLeft(ctx, dies)
	p.goesOn(ctx, survives)
	cli(p.t, "check", p.volume(survives, 0))
	cli(p.t, "check", p.volume(dies, 0))
	p.repairable(dies)
	p.must("restore", p.net.Restore())
	p.reprotect(ctx, survives)
	p.t.Logf("alone after %v; the round took %v", alone, time.Since(began))
	return survives
}

// strike waits until a side is at the step and kills there. Its belay stands still meanwhile, so that
// nobody sees one part of a host outlive the other.
func (p *sides) strike(ctx context.Context, id pair.ID, b blow) {
	p.t.Helper()
	server, vm := p.servers[id], p.vms[id]
	for i, name := range b.symbols() {
		n := b.n
		if i > 0 {
			n = 1
		}
		trap, err := freeze.At(server.PID(), binary(), name, n)
		p.must("trap", err)
		defer trap.Close()
		if i > 0 {
			p.must("go on", freeze.Continue(server.PID()))
		}
		p.must("trap", trap.Wait(ctx))
	}
	if b.what == killPower {
		p.must("cut", p.net.Cut())
	}
	if b.what != killBelay {
		vm.Kill()
	}
	if b.what != killQEMU {
		server.Kill()
		return
	}
	p.must("go on", freeze.Continue(server.PID()))
}
