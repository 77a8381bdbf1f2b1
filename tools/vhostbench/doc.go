// Command vhostbench plays the front end of a vhost-user-blk back end, any back end, and
// measures it: the guest's driver runs in this process, on rings in shared memory, and no
// virtual machine is needed.
//
//	vhostbench run --socket-path S --op read --depth 32 --json
//	vhostbench run --socket-path S --op write --flush-every 1 --depth 1 --wait eventfd
//	vhostbench run --socket-path S --fill
//	vhostbench null --socket-path S    a back end that does nothing, to measure vhostbench itself
//
// # What is measured
//
// Each queue has a thread of its own. It waits until requests have finished, reads the clock,
// reaps all of them, puts new ones into the ring and kicks the device if that asked for it. A
// latency begins when the thread saw the completions that made room for the request, and ends
// when it saw the request's own: it holds what the generator itself takes for one batch, which
// is some tens of nanoseconds a request.
//
// Nothing counts before the ramp is over; from then on everything does that is completed
// until the time is up.
//
// The back end's processor time is /proc/PID/stat's, which knows hundredths of a second: runs
// of a second and more give it well enough.
//
// # Files
//
//	main.go        the command and its exit codes
//	run.go         the flags of run
//	job.go         connect, start the threads, gather what they found
//	worker.go      the loop of one queue, the only hot code here
//	offsets.go     where requests go
//	sure.go        how long requests took without the generator's own part
//	tally.go       counts and histograms
//	cpu.go         processor time and pinning
//	watch.go       notices that the back end died
//	checkpoint.go  a checkpoint every so often
//	verify.go      what was written, and whether it comes back
//	progress.go    the bar on a terminal
//	report.go      the result as JSON and in words
//	null.go        the back end that does nothing
package main
