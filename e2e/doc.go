// Package e2e holds the tests that boot a real guest on a served volume. They have the build
// tag e2e, take some minutes and fail where QEMU is missing: run `make e2e`, which sets up
// what they need. This page is all that an ordinary build sees of them.
//
// Tests of pairs need root rights, for network namespaces.
//
// BELAY and VHOSTBENCH name the binary under test and the load generator (default: those in bin/
// of this checkout). With
// BELAY_E2E_BACKEND=qsd the same guests run on qemu-storage-daemon instead, which tells a
// fault of the harness from one of ours; what only belay can do is then left out.
// BELAY_E2E_CONSOLE=1 shows the guests' serial lines.
//
//	backend_test.go   how a volume is made, served, killed and resized: the only file that
//	                  knows command lines
//	world_test.go     a volume with a guest on it, and the scripts that guests run
//	story_test.go     write, checkpoint, write more, power off, roll back, boot again
//	device_test.go    reboot, queues, plugging, resize, discard, in both ring formats
//	kill_test.go      kill -9 of the server under load
//	colo_bare_test.go, colo_ledger_test.go
//	                  the harness for COLO (tools/pair) by itself, with nobody or QEMU carrying
//	                  the disk: it makes pairs, fails over, cuts the link, and the guest's ledger
//	                  agrees where it has to and finds what is wrong
//	colo_steps_test.go
//	                  kills at every step of a checkpoint, on both sides
//	colo_long_test.go, colo_cut_test.go
//	                  200 checkpoints under load; the link cut in the middle of the guest's memory
//	trace_test.go     tracing: maps as bpftool prints them, the load generator, belay trace
//	tracecount_test.go, tracedelay_test.go, traceguest_test.go
//	                  counts are exact, delays are in the right part, a guest is recorded
//	slowdisk_test.go  a disk that is slow for one process
package e2e
