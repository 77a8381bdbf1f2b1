package main

import (
	"time"

	"github.com/belay-vm/belay/tools/bench/report"
)

const kib = 1 << 10

// load is what a front end does, or fio in its place.
type load struct {
	write, seq bool
	bs, depth  int
	flushEvery int           // writes from one flush to the next; 0: none
	checkpoint time.Duration // from one checkpoint to the next; 0: none

	sure bool // tell latencies without the front end's own part, too

	// share is the part of the disk's blocks that is asked for, in place of a time. It is for
	// disks that only the first request to a block finds as they are meant to be.
	share float64
}

// entry is something that a row measures.
type entry struct {
	report.Entry
	subject subject
	load    *load // if other than the row's
}

// row is a load in a placement, all that is measured under it, and what that is to show.
type row struct {
	name, title string
	load        load
	place       placement
	entries     []entry
	targets     []report.Target
}

// Writes to disks without content. As many are asked for as a quarter of what the disk is
// allocated in, so that nearly every one is the first where it goes: blocks of belay's, and
// clusters of 64 KiB of qcow2's.
var (
	firstWrites   = load{write: true, bs: 4 * kib, depth: 32, share: 1. / 4}
	firstClusters = load{write: true, bs: 4 * kib, depth: 32, share: 1. / 64}
)

// rows is the table. A name in a target is the name of an entry of its row.
var rows = []row{
	{
		name: "randread-qd32", title: "4 KiB random read, depth 32",
		load: load{bs: 4 * kib, depth: 32}, place: apart,
		entries: with(twice(steady), of(qsdRaw), of(qsdThread), of(fio)),
		targets: []report.Target{
			atLeast(1.25, report.IOPS, qsdRaw.name),
			atLeast(0.95, report.IOPS, fio.name),
			atMost(0.85, report.CPU, qsdRaw.name),
		},
	},
	{
		name: "randread-qd1-one-cpu", title: "4 KiB random read, depth 1",
		load: load{bs: 4 * kib, depth: 1}, place: together,
		entries: with(twice(steady), of(qsdRaw)),
		targets: []report.Target{atMost(0.9, report.P50, qsdRaw.name)},
	},
	{
		name: "randread-qd1-polling", title: "4 KiB random read, depth 1",
		load: load{bs: 4 * kib, depth: 1}, place: apart,
		entries: with(twice(steady), of(qsdRaw), of(qsdThread)),
		targets: []report.Target{atMost(0.9, report.P50, qsdRaw.name)},
	},
	{
		name: "randwrite-qd32", title: "4 KiB random write, depth 32",
		load: load{write: true, bs: 4 * kib, depth: 32}, place: apart,
		entries: with(twice(steady), of(qsdRaw), of(qsdThread), of(fio),
			// What the device takes in order with 128 KiB in flight, however they are cut.
			as("fio in order, 4k x 32", fio, load{write: true, seq: true, bs: 4 * kib, depth: 32}),
			as("fio in order, 32k x 4", fio, load{write: true, seq: true, bs: 32 * kib, depth: 4}),
			as("fio in order, 128k x 1", fio, load{write: true, seq: true, bs: 128 * kib, depth: 1}),
			of(roomy), as(fresh.name, fresh, firstWrites), as(qsdFresh.name, qsdFresh, firstClusters)),
		targets: []report.Target{
			atLeast(0.75, report.Bandwidth,
				"fio in order, 4k x 32", "fio in order, 32k x 4", "fio in order, 128k x 1"),
			stretch(3, atLeast(2.5, report.IOPS, qsdRaw.name)),
			stretch(2.2, atLeast(1.8, report.IOPS, fio.name)),
			atMost(0.7, report.CPU, qsdRaw.name),
		},
	},
	{
		name: "randwrite-qd32-checkpoints", title: "4 KiB random write, depth 32, a checkpoint every 100 ms",
		load: load{write: true, bs: 4 * kib, depth: 32}, place: apart,
		entries: with(twice(steady), as("belay + checkpoints", steady,
			load{write: true, bs: 4 * kib, depth: 32, checkpoint: 100 * time.Millisecond})),
		targets: []report.Target{
			by("belay + checkpoints", atLeast(0.95, report.IOPS, steady.name)),
			by("belay + checkpoints", atMost(1.5, report.P999, steady.name)),
		},
	},
	{
		name: "first-writes", title: "first 4 KiB writes over a base, at random, depth 32",
		load: firstWrites, place: apart,
		entries: with(twice(overBase), as(qsdOverlay.name, qsdOverlay, firstClusters)),
		targets: []report.Target{
			by(overBase.name, atLeast(20, report.IOPS, qsdOverlay.name)),
		},
	},
	{
		name: "randwrite-qd1-one-cpu", title: "4 KiB random write, depth 1",
		load: load{write: true, bs: 4 * kib, depth: 1}, place: together,
		entries: with(twice(steady), of(qsdRaw)),
		targets: []report.Target{atMost(0.9, report.P50, qsdRaw.name)},
	},
	{
		name: "randwrite-qd1-polling", title: "4 KiB random write, depth 1",
		load: load{write: true, bs: 4 * kib, depth: 1}, place: apart,
		entries: with(twice(steady), of(qsdRaw)),
		targets: []report.Target{atMost(0.9, report.P50, qsdRaw.name)},
	},
	{
		name: "flush-one-cpu", title: "4 KiB random write and flush, depth 1",
		load: load{write: true, bs: 4 * kib, depth: 1, flushEvery: 1}, place: together,
		entries: with(twice(steady), of(qsdRaw)),
		targets: []report.Target{atMost(1, report.FlushP50, qsdRaw.name)},
	},
	{
		name: "flush-polling", title: "4 KiB random write and flush, depth 1",
		load: load{write: true, bs: 4 * kib, depth: 1, flushEvery: 1}, place: apart,
		entries: with(twice(steady), of(qsdRaw)),
		targets: []report.Target{atMost(1, report.FlushP50, qsdRaw.name)},
	},
	{
		name: "seqread-128k", title: "128 KiB sequential read, depth 8",
		load: load{seq: true, bs: 128 * kib, depth: 8}, place: apart,
		entries: with(twice(ordered), of(qsdRaw), of(fio), as("belay, written at random", steady,
			load{seq: true, bs: 128 * kib, depth: 8})),
		targets: []report.Target{atLeast(0.95, report.Bandwidth, fio.name)},
	},
	{
		name: "seqwrite-128k", title: "128 KiB sequential write, depth 8",
		load: load{write: true, seq: true, bs: 128 * kib, depth: 8}, place: apart,
		entries: with(twice(ordered), of(qsdRaw), of(fio)),
		targets: []report.Target{atLeast(0.95, report.Bandwidth, fio.name)},
	},
	{
		name: "shm-randread-qd32", title: "4 KiB random read in /dev/shm, depth 32",
		load: load{bs: 4 * kib, depth: 32}, place: apart,
		entries: with(twice(inMemory), of(qsdMemory)),
		targets: []report.Target{atLeast(1.5, report.IOPS, qsdMemory.name)},
	},
	{
		name: "shm-randwrite-qd32", title: "4 KiB random write in /dev/shm, depth 32",
		load: load{write: true, bs: 4 * kib, depth: 32}, place: apart,
		entries: with(twice(inMemory), of(qsdMemory)),
		targets: []report.Target{atLeast(1.5, report.IOPS, qsdMemory.name)},
	},
}

// scaleRow is the name under which --rows knows the figures of the store itself.
const scaleRow = "scale"

// of is an entry under its subject's own name and the row's own load.
func of(s subject) entry {
	return entry{Entry: report.Entry{Name: s.title(), What: s.what()}, subject: s}
}

// as is an entry with a name and a load of its own.
func as(name string, s subject, l load) entry {
	return entry{Entry: report.Entry{Name: name, What: s.what()}, subject: s, load: &l}
}

// repeated is an entry and a second measurement of the same.
func repeated(e entry) []entry {
	again := e
	again.Repeats = e.Name
	again.Name += " again"
	return []entry{e, again}
}

func twice(s subject) []entry { return repeated(of(s)) }

func with(first []entry, rest ...entry) []entry { return append(first, rest...) }

// The targets' words. What is to reach a target is belay, unless by says otherwise.

func atLeast(bound float64, m report.Metric, against ...string) report.Target {
	return report.Target{Entry: steady.name, Metric: m, Against: against, AtLeast: bound}
}

func atMost(bound float64, m report.Metric, against ...string) report.Target {
	return report.Target{Entry: steady.name, Metric: m, Against: against, AtMost: bound}
}

func stretch(bound float64, t report.Target) report.Target {
	t.Stretch = bound
	return t
}

func by(entry string, t report.Target) report.Target {
	t.Entry = entry
	return t
}
