// Command bench measures belay side by side with what users would pick instead, and says whether
// it is where it ought to be. `make bench` runs it, `make bench-compare` sets two of its results
// side by side.
//
//	bench run [--rows REGEXP] [--rounds 9] [--seconds 2] [--size 2G] [--short] ...
//	bench rows
//	bench compare [A B]
//	bench trace [--without PROGRAM] ...
//
// Everything that is measured together is measured in one run: in each round every entry of a row
// gets its turn, in an order that rotates, and ratios are taken within a round. Only the entry
// whose turn it is has a load; back ends that are up without one sleep. Belay is measured twice in
// a round, and what that shows is what the machine makes of no difference (A/A).
//
// A run leaves result.json (all samples), table.txt and plot.png in bench/DATE-COMMIT.
//
//	rows.go        the table of what is measured: begin here
//	subject.go     back ends on a socket: made, filled, served
//	drive.go       loading them, with vhostbench
//	fio.go         the device without a back end
//	checkpoints.go checkpoints while a load runs
//	lab.go         what a run has: directories, images, servers
//	place.go       work directories: their rules, their end
//	run.go         rounds and turns
//	trace.go       what it costs to be traced, and whether the tracer says what is true
//	scale.go       figures of the store itself
//	show.go        what whoever watches sees
//	main.go        the command line
package main
